#!/usr/bin/env bash
# For the tests: dciodvfy (Debian's dicom3tools) checks DICOM objects, Orthanc with DICOMweb is a PACS to talk to.
# Without root or apt the tests that need them are skipped with a reason, so failing here is no error.
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then # the package would start a server that listens; tests start their own, on loopback
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
        trap 'rm -f $policy' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends dicom3tools orthanc orthanc-dicomweb; } \
        >/dev/null 2>&1 && exit 0
fi
echo "dciodvfy or Orthanc not found: some tests of DICOM will be skipped (on Debian: apt-get install dicom3tools orthanc orthanc-dicomweb)"
