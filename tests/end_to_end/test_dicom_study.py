"""A phantom study as DICOM files through both public ways: the command line, and HTTP on a real local Ray."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pool.analysis import analyse
from pool.inputs import open_study
from pool.member import Pool
from pool.output import RESULT_NAMES
from pool.phantom.dicom_files import write_dicom_study
from pool.phantom.presets import get_preset
from pool.phantom.study import PhantomStudy, make_study
from pool.results import write_results
from serve.batch.settings import BatchSettings
from serve.batch.worker import StudyWorker
from serve.client import ServiceClient
from serve.local import free_port, running_service
from serve.settings import ServiceSettings
from tests.samples import few_shipped_members

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def phantom() -> PhantomStudy:
    return make_study(get_preset("exD-1"), seed=7, n_frames=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, phantom: PhantomStudy) -> Path:
    """`study/` and `study.zip` of DICOM files, `pool/`, and `out/` as the command line leaves it."""
    folder = tmp_path_factory.mktemp("whole")
    write_dicom_study(phantom, folder / "study")
    shutil.make_archive(str(folder / "study"), "zip", folder / "study")
    few_shipped_members(folder / "pool")
    words = ["analyse", "study", "--pool", "pool", "--out", "out", "--threads", "1"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-m", "pool", *words], cwd=folder, capture_output=True, text=True, timeout=250, env=environment
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_every_result_is_there(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "out").iterdir()) == sorted(RESULT_NAMES)


def test_the_service_gives_the_same_files_byte_for_byte(local_ray: None, folder: Path) -> None:
    settings = ServiceSettings(pool_dir=folder / "pool", studies_dir=folder / "studies", port=free_port(), n_shards=2)
    with running_service(settings) as url, ServiceClient(url) as client:
        sent = client.send(folder / "study.zip")
        client.wait(sent.id, deadline_s=200)
        client.fetch(sent.id, folder / "answer")
    for name in RESULT_NAMES:
        assert (folder / "answer" / name).read_bytes() == (folder / "out" / name).read_bytes(), name


@pytest.mark.parametrize("sent", ["study", "study.zip"])
def test_a_worker_of_a_cohort_gives_the_same_files_byte_for_byte(folder: Path, sent: str) -> None:
    analysis = ServiceSettings(pool_dir=folder / "pool").analysis
    pool, study = Pool.load(folder / "pool"), open_study(folder / sent)
    expected = write_results(analyse(study.series, pool, analysis), folder / f"expected-{sent}", study.dicom)
    settings = BatchSettings.of(folder / f"cohort-{sent}", folder / "pool", pool.manifest, analysis)
    settings.claim_folder()
    settings.studies_dir.mkdir()
    StudyWorker(settings, "run").work_on("s-1", folder / sent)
    found = sorted((settings.studies_dir / "s-1").iterdir())
    assert [path.name for path in found] == [path.name for path in expected]
    assert "segmentation.dcm" in {path.name for path in found}
    for ours, theirs in zip(found, expected):
        assert ours.read_bytes() == theirs.read_bytes(), ours.name


def test_dicom_objects_hold_the_maps_on_the_right_slices(folder: Path, phantom: PhantomStudy) -> None:
    with np.load(folder / "out" / "maps.npz") as maps:
        mask, uncertainty = maps["mask"], maps["uncertainty"]
    assert mask.shape == phantom.labels.shape
    geometry = phantom.series.geometry
    assert geometry is not None
    where = {tuple(round(v, 2) for v in slice_.position_mm): i for i, slice_ in enumerate(geometry)}
    segmentation, umap = (pydicom.dcmread(folder / "out" / name) for name in ("segmentation.dcm", "umap.dcm"))
    floats = np.frombuffer(umap.FloatPixelData, "<f4").reshape(-1, *mask.shape[1:])
    for dataset, pixels, wanted in ((segmentation, segmentation.pixel_array, mask), (umap, floats, uncertainty)):
        for frame, item in zip(pixels.reshape(-1, *mask.shape[1:]), dataset.PerFrameFunctionalGroupsSequence):
            segment = item.get("SegmentIdentificationSequence")
            if segment and segment[0].ReferencedSegmentNumber != 1:
                continue
            position = tuple(round(float(v), 2) for v in item.PlanePositionSequence[0].ImagePositionPatient)
            assert np.array_equal(frame, wanted[where[position]])


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian: dicom3tools) is not installed")
@pytest.mark.parametrize("name", ["segmentation.dcm", "umap.dcm", "report.dcm", "contours.dcm"])
def test_dicom_objects_are_valid(folder: Path, name: str) -> None:
    done = subprocess.run(["dciodvfy", folder / "out" / name], capture_output=True, text=True, timeout=60)
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")] == []
