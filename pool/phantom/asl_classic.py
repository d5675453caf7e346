"""A phantom ASL study as single-frame files: the standard has no attribute there, comments say what an image is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pool.phantom.asl import AslStudy
from pool.phantom.asl_scan import asl_uid, description_of, images_of, rescale_slope, scan_of
from pool.phantom.dicom_common import MR_IMAGE_STORAGE, classic_fields, clock, common_fields, decimal, empty_file, fill

MIDDLE = 2048
"""Stored value of zero: 12 bits without a sign."""
COMMENTS = {"control": "FAIR control", "label": "FAIR label", "baseline": "M0 baseline, no inversion"}
"""ImageComments by kind."""


def write_classic(study: AslStudy, folder: Path) -> list[Path]:
    """Real images of one series; zero lies in RescaleIntercept, the inversion time in InversionTime.

    Args:
        study: the study; the same study gives the same bytes.
        folder: exists.
    """
    images, scan, paths = images_of(study), scan_of(study), []
    slope = rescale_slope(images, MIDDLE - 1)
    for number, image in enumerate(images, start=1):
        pixels = (np.round(image.frame / slope) + MIDDLE).astype("<u2")
        fields = common_fields(study.preset_name, study.seed, scan.scanner)
        fields |= classic_fields(study.geometry, study.pixel_spacing_mm, scan, pixels)
        fields |= {
            "SOPInstanceUID": asl_uid(study, "image", "classic", number),
            "SeriesInstanceUID": asl_uid(study, "series", "classic"),
            "ImageType": ["ORIGINAL", "PRIMARY", "R", "ND"],
            "StudyDescription": "PHANTOM cardiac ASL",
            "SeriesNumber": "31",
            "SeriesDescription": description_of(study),
            "ProtocolName": "myocardial ASL",
            "SequenceName": "*tfi2d1",
            "ImageComments": COMMENTS[image.kind],
            "SeriesTime": clock(images[0].at_s),
            "AcquisitionTime": clock(image.at_s),
            "ContentTime": clock(image.at_s),
            "TriggerTime": decimal(600.0 * float(study.ti_s.mean())),
            "AcquisitionNumber": str(number),
            "InstanceNumber": str(number),
            "RescaleSlope": decimal(slope),
            "RescaleIntercept": decimal(-MIDDLE * slope),
            "RescaleType": "US",
            "WindowCenter": decimal(0.0),
            "WindowWidth": decimal(MIDDLE * slope),
        }
        if image.ti_ms is None:
            fields["ScanningSequence"] = "GR"
        else:
            fields["InversionTime"] = decimal(image.ti_ms)
        file = empty_file(MR_IMAGE_STORAGE, fields["SOPInstanceUID"])
        fill(file, fields, pixels)
        path = folder / f"{number:04d}.dcm"
        file.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
