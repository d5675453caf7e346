"""Debian's Orthanc with DICOMweb on loopback, for the tests of one module."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
needs_orthanc = pytest.mark.skipif(
    shutil.which("Orthanc") is None or not PLUGIN.exists(),
    reason="Orthanc with DICOMweb (Debian: orthanc, orthanc-dicomweb) is not installed",
)


@dataclass(frozen=True)
class Orthanc:
    """A running server."""

    http_port: int
    dicom_port: int

    @property
    def dicomweb_url(self) -> str:
        """Its DICOMweb root."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def get(self, path: str) -> httpx.Response:
        """An answer of its own REST API."""
        return httpx.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=60).raise_for_status()

    def push(self, files: list[Path]) -> None:
        """Store files by its REST API, which is not what is tested."""
        for path in files:
            url = f"http://127.0.0.1:{self.http_port}/instances"
            httpx.post(url, content=path.read_bytes(), timeout=60).raise_for_status()

    def instances(self, study_uid: str) -> dict[str, bytes]:
        """Files of a study by their SOP Instance UIDs, one by one through WADO-RS."""
        listed = self.get(f"/dicom-web/studies/{study_uid}/instances").json()
        return {item["00080018"]["Value"][0]: self._fetch(study_uid, item) for item in listed}

    def _fetch(self, study_uid: str, item: dict[str, dict[str, list[str]]]) -> bytes:
        series, instance = item["0020000E"]["Value"][0], item["00080018"]["Value"][0]
        url = f"{self.dicomweb_url}/studies/{study_uid}/series/{series}/instances/{instance}"
        answer = httpx.get(url, headers={"Accept": 'multipart/related; type="application/dicom"'}, timeout=60)
        body = answer.raise_for_status().content
        start = body.index(b"\r\n\r\n") + 4
        return body[start : body.rindex(b"\r\n--")]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_orthanc(folder: Path, ours: tuple[str, int] | None = None) -> Iterator[Orthanc]:
    """Orthanc with an empty database in `folder`; `ours` is the title and port that it may send to."""
    server = Orthanc(free_port(), free_port())
    settings = {
        "Name": "test",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": server.http_port,
        "DicomPort": server.dicom_port,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalities": {"ours": [ours[0], "127.0.0.1", ours[1]]} if ours else {},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        for _ in range(600):
            try:
                server.get("/system")
                break
            except httpx.HTTPError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(30)
