"""Against a real server: a phantom study in each vendor's dialect goes in, results are found beside it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset

from pool.analysis import AnalysisSettings, StudyAnalysis, analyse
from pool.dicom.objects import blood_pools
from pool.inputs import open_study
from pool.member import Pool
from pool.perfusion.results import StudyFlow
from pool.phantom.dicom_files import DIALECTS, write_dicom_study
from pool.phantom.presets import get_preset
from pool.phantom.study import PhantomStudy, make_study
from pool.results import write_results
from pool.sweep import SweepSettings
from serve.pacs.command import make_gateway
from serve.pacs.dimse import receiver
from serve.pacs.gateway import Gateway
from serve.pacs.settings import PacsSettings
from tests.samples import few_shipped_members
from tests.serve.pacs.orthanc import Orthanc, free_port, needs_orthanc, running_orthanc

pytestmark = [needs_orthanc, pytest.mark.filterwarnings("ignore::UserWarning")]
OUR_PORT = free_port()


class Here:
    """An analyst in this process, with one member of the pool that ships."""

    def __init__(self, folder: Path) -> None:
        few_shipped_members(folder, 1)
        self._pool = Pool.load(folder)
        self.last: StudyAnalysis | None = None
        self.n_analyses = 0

    def analyse(self, images: Path, out_dir: Path) -> None:
        study = open_study(images)
        torch.set_num_threads(1)
        settings = AnalysisSettings(sweep=SweepSettings(stride_px=16))
        self.last = analyse(study.series, self._pool, settings)
        write_results(self.last, out_dir, study.dicom)
        self.n_analyses += 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc"), ("PERFPOOL", OUR_PORT)) as started:
        yield started


@pytest.fixture
def orthanc(server: Orthanc) -> Iterator[Orthanc]:
    """The server, empty again after every test."""
    yield server
    for study in server.get("/studies").json():
        httpx.delete(f"http://127.0.0.1:{server.http_port}/studies/{study}").raise_for_status()


@pytest.fixture(scope="module")
def analyst(tmp_path_factory: pytest.TempPathFactory) -> Here:
    return Here(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="module")
def phantom() -> PhantomStudy:
    return make_study(get_preset("exD-1"), seed=7, n_frames=24)


def until_stored(gateway: Gateway, n: int = 1) -> None:
    for _ in range(200):
        gateway.step()
        if gateway.counts()["stored"] >= n:
            return
        assert not gateway.counts()["refused"], gateway.counts()
        gateway.stopped.wait(0.05)
    pytest.fail(f"never stored: {gateway.counts()}")


def found(orthanc: Orthanc, study_uid: str) -> tuple[dict[str, Dataset], dict[str, bytes]]:
    files = orthanc.instances(study_uid)
    return {uid: pydicom.dcmread(BytesIO(data)) for uid, data in files.items()}, files


def references(item: Dataset) -> Iterator[str]:
    for element in item:
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)
        elif element.VR == "SQ":
            for inner in element.value:
                yield from references(inner)


def check_results(orthanc: Orthanc, study_uid: str, analyst: Here, tmp_path: Path) -> None:
    """Segmentation, maps, report and picture are there, hold the analysis, refer to what is there, and are valid."""
    datasets, files = found(orthanc, study_uid)
    made = {item.Modality: item for item in datasets.values() if item.Modality != "MR"}
    kinds = {item.SOPClassUID.name for item in made.values()}
    assert kinds >= {"Segmentation Storage", "Comprehensive SR Storage", "Secondary Capture Image Storage"}
    assert any(item.SOPClassUID.name == "Parametric Map Storage" for item in datasets.values())
    sources = [item for item in datasets.values() if item.SOPClassUID.name.endswith("MR Image Storage")]
    for uid, item in datasets.items():
        if item in sources:
            continue
        assert item.PatientID == sources[0].PatientID
        assert str(item.PatientName) == str(sources[0].PatientName)
        assert set(references(item)) <= set(datasets), f"{item.SOPClassUID.name} refers to what is not there"
        if shutil.which("dciodvfy"):
            (tmp_path / uid).write_bytes(files[uid])
            done = subprocess.run(["dciodvfy", str(tmp_path / uid)], capture_output=True, text=True, check=False)
            assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr
    analysis = analyst.last
    assert analysis is not None
    pools = blood_pools(analysis)
    geometry = analysis.series.geometry
    assert geometry is not None
    positions = np.array([g.position_mm for g in geometry])

    def slice_of(item: Dataset) -> int:
        place = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        return int(np.linalg.norm(positions - place, axis=1).argmin())

    seg = made["SEG"]
    wanted = {1: analysis.masks, 2: pools[0] if pools else None, 3: pools[1] if pools else None}
    frames = np.asarray(seg.pixel_array).reshape(-1, seg.Rows, seg.Columns)
    for frame, item in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        holder = item if "SegmentIdentificationSequence" in item else seg.SharedFunctionalGroupsSequence[0]
        masks = wanted[holder.SegmentIdentificationSequence[0].ReferencedSegmentNumber]
        assert masks is not None
        np.testing.assert_array_equal(frame, masks[slice_of(item)])
    maps_there = [item for item in datasets.values() if item.SOPClassUID.name == "Parametric Map Storage"]
    (umap,) = [item for item in maps_there if item.SeriesDescription.startswith("U-map")]
    written = {id(umap): analysis.uncertainties}
    if isinstance(analysis.flow, StudyFlow):
        (mbf,) = [item for item in maps_there if item.SeriesDescription.startswith("MBF")]
        flow = analysis.flow.mbf_maps(analysis.series.slice_names, analysis.masks.shape[1:])
        assert (flow > 0.5).sum() > 100
        written[id(mbf)] = np.nan_to_num(flow, nan=0.0)  # no viewer knows what to do with a NaN
        units = mbf.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0].MeasurementUnitsCodeSequence[0]
        assert units.CodeValue == "mL/min/g"
    assert len(maps_there) == len(written)
    for made_map in maps_there:
        maps = np.frombuffer(made_map.FloatPixelData, "<f4").reshape(-1, made_map.Rows, made_map.Columns)
        for values, item in zip(maps, made_map.PerFrameFunctionalGroupsSequence, strict=True):
            np.testing.assert_array_equal(values, written[id(made_map)][slice_of(item)])


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_polled_analysed_and_stored_back(
    tmp_path: Path, orthanc: Orthanc, analyst: Here, phantom: PhantomStudy, dialect: str
) -> None:
    files = write_dicom_study(phantom, tmp_path / "study", dialect)
    orthanc.push(files)
    study_uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    settings = PacsSettings(
        state_dir=tmp_path / "state", dicomweb_url=orthanc.dicomweb_url, poll_s=0.01, poll_days=3650, quiet_s=0.01
    )
    gateway = make_gateway(settings)
    gateway.analyst = analyst
    before = analyst.n_analyses
    until_stored(gateway)
    for _ in range(3):  # our own results have made the study larger: nothing is analysed again
        gateway.step()
    assert analyst.n_analyses == before + 1
    assert analyst.last is not None
    assert isinstance(analyst.last.flow, StudyFlow) == (dialect != "siemens-xa")  # whose files hold no inversion time
    check_results(orthanc, study_uid, analyst, tmp_path)


@pytest.mark.parametrize("deidentify", [False, True])
def test_received_and_stored_by_c_store(
    tmp_path: Path, orthanc: Orthanc, analyst: Here, phantom: PhantomStudy, deidentify: bool
) -> None:
    files = write_dicom_study(phantom, tmp_path / "study", "siemens" if deidentify else "philips")
    orthanc.push(files)
    study_uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    settings = PacsSettings(
        state_dir=tmp_path / "state",
        dimse_port=OUR_PORT,
        dimse_senders=("ORTHANC",),
        store_by="c-store",
        store_port=orthanc.dicom_port,
        store_aet="ORTHANC",
        quiet_s=0.01,
        deidentify=deidentify,
    )
    gateway = make_gateway(settings)
    gateway.analyst = analyst
    (study,) = orthanc.get("/studies").json()
    with receiver(settings, gateway.inbox, gateway.wakened.set):
        url = f"http://127.0.0.1:{orthanc.http_port}/modalities/ours/store"
        httpx.post(url, content=study, timeout=120).raise_for_status()
    assert gateway.wakened.is_set()
    until_stored(gateway)
    check_results(orthanc, study_uid, analyst, tmp_path)
