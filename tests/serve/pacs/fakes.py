"""An analyst, a service and a PACS that do as little as they can, and count."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom

from pool.dicom.derived import Origin
from pool.dicom.segmentation import write_segmentation
from pool.inputs import open_study


def results_of(images: Path, out_dir: Path) -> None:
    """A segmentation of one pixel a slice, and a `result.json`."""
    study = open_study(images)
    assert study.dicom is not None
    mask = np.zeros((study.series.n_slices, *study.series.frames.shape[2:]), dtype=bool)
    mask[:, 4, 9] = True
    out_dir.mkdir()
    origin = Origin(study.series.content_sha256(), "ab" * 32, "0")
    write_segmentation(out_dir / "segmentation.dcm", study.dicom, mask, origin=origin)
    (out_dir / "result.json").write_text("{}")


@dataclass
class FakeAnalyst:
    """Analyses at once; raises the given errors first."""

    failures: list[Exception] = field(default_factory=list)
    runs: list[list[str]] = field(default_factory=list)
    """Series descriptions seen, run by run."""
    headers: list[pydicom.Dataset] = field(default_factory=list)
    """A header of every run."""

    def analyse(self, images: Path, out_dir: Path) -> None:
        """See `serve.pacs.gateway.Analyst`."""
        if self.failures:
            raise self.failures.pop(0)
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(images.iterdir())]
        self.runs.append(sorted({str(header.get("SeriesDescription", "")) for header in headers}))
        self.headers.append(headers[0])
        results_of(images, out_dir)


class KillingServer:
    """A service and a PACS on one port. Kills a process at a moment, before it answers.

    Args:
        folder: for results.
        moment: `sent` (a study has come whole), `fetched` (its first result is asked for), `stored` (results have come
            to the PACS) or empty.
    """

    def __init__(self, folder: Path, moment: str = "") -> None:
        self.folder, self.moment = folder, moment
        self.victim = 0
        self.killed, self.stored_event = threading.Event(), threading.Event()
        self.contents: list[str] = []
        """Hash of every upload."""
        self.stored: list[str] = []
        """SOP Instance UIDs that came to the PACS, in order."""

    def at(self, moment: str) -> None:
        """Kill, if this is the moment; once."""
        if moment == self.moment and not self.killed.is_set():
            os.kill(self.victim, signal.SIGKILL)
            self.killed.set()
            raise ConnectionAbortedError

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/v1/studies":
            archive = body[body.index(b"PK\x03\x04") : body.rindex(b"\r\n--")]
            name = hashlib.sha256(archive).hexdigest()[:32]
            self.contents.append(name)
            if not (self.folder / name).exists():
                (self.folder / f"{name}.zip").write_bytes(archive)
                results_of(self.folder / f"{name}.zip", self.folder / name)
            self.at("sent")
            return 202, self.view(name)
        uids = []
        for part in body.split(b"Content-Type: application/dicom\r\n\r\n")[1:]:
            uids.append(str(pydicom.dcmread(BytesIO(part[: part.rindex(b"\r\n--")])).SOPInstanceUID))
        self.stored += uids
        self.at("stored")
        self.stored_event.set()
        return 200, json.dumps({"00081199": {"vr": "SQ", "Value": [{} for _ in uids]}}).encode()

    def get(self, path: str) -> tuple[int, bytes]:
        _, _, _, name, *rest = path.split("/")
        if rest:
            self.at("fetched")
            return 200, (self.folder / name / rest[0]).read_bytes()
        return 200, self.view(name)

    def view(self, name: str) -> bytes:
        fields = {"id": name, "state": "done", "created_at": "2024-01-01", "n_sweeps": 1, "n_sweeps_done": 1}
        fields |= {"reason": "", "results": ["result.json", "segmentation.dcm"], "links": {}, "n_attempts": 1}
        return json.dumps(fields).encode()


@contextmanager
def served(fake: KillingServer) -> Iterator[str]:
    """The fake on a free port; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(lambda: fake.get(self.path))

        def do_POST(self) -> None:
            body = self._body()
            self._answer(lambda: fake.post(self.path, body))

        def _body(self) -> bytes:
            if "Content-Length" in self.headers:
                return self.rfile.read(int(self.headers["Content-Length"]))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def _answer(self, answer: object) -> None:
            try:
                status, body = answer()  # type: ignore[operator]
            except ConnectionAbortedError:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
