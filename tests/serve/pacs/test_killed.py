"""The gateway is killed at chosen moments; the next one goes on: analysed once, stored once, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from serve.pacs.multipart import related_body
from tests.pool.dicom import dicom_samples as samples
from tests.serve.pacs.fakes import KillingServer, served
from tests.serve.pacs.orthanc import free_port

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
CODE = "import typer; from serve.pacs.command import pacs; typer.run(pacs)"
ROOT = Path(__file__).parents[3]


def started(folder: Path, url: str, port: int) -> subprocess.Popen[bytes]:
    """A gateway that is ready."""
    arguments = ["--dicomweb", url, "--service", url, "--state", str(folder), "--quiet", "0.01"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "POOL_PACS_RETRY_FIRST_S": "0.01"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *arguments, "--stow-port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if b"ready" in line:
            return process
    raise AssertionError("the gateway did not start")


@pytest.mark.parametrize("moment", ["sent", "fetched", "stored"])
def test_killed_and_started_again(tmp_path: Path, moment: str) -> None:
    files = samples.write_study(tmp_path / "in", SeriesDescription="stress")
    (tmp_path / "service").mkdir()
    fake, port = KillingServer(tmp_path / "service", moment), free_port()
    with served(fake) as url:
        first = started(tmp_path / "state", url, port)
        fake.victim = first.pid
        content_type, body = related_body(files)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/dicom-web/studies",
            content=body,
            headers={"Content-Type": content_type},
            timeout=60,
        )
        assert answer.status_code == 200
        assert len(answer.json()["00081199"]["Value"]) == 30
        shutil.rmtree(tmp_path / "in")  # they were acknowledged: the gateway alone has them now
        assert fake.killed.wait(120)
        first.wait()
        second = started(tmp_path / "state", url, port)
        try:
            assert fake.stored_event.wait(120)
        finally:
            second.terminate()
            assert second.wait(60) == 0
    assert len(set(fake.contents)) == 1  # the service knows these bytes: analysed once
    assert len(set(fake.stored)) == 1  # one object, whatever was sent again
