"""From images that came to results that are stored: each run once, none lost, nobody named."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from serve.errors import ServiceRefusedError, ServiceUnreachableError
from serve.pacs.dicomweb import SeriesListing
from serve.pacs.gateway import DAY_S, Gateway
from serve.pacs.inbox import Inbox, job_of
from serve.pacs.runs import RunRecord, RunState, read_run, run_folders
from serve.pacs.settings import PacsSettings
from tests.pool.dicom import dicom_samples as samples
from tests.serve.pacs.fakes import FakeAnalyst

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SECRETS = ("Phantom", "Secret", "SECRET", "19700102", "20240305", samples.STUDY_UID, "Doe^")


@dataclass
class Rig:
    """A gateway without a network, and a clock that stands still."""

    state: Path
    changes: dict[str, Any] = field(default_factory=dict)
    now: float = 2e9
    analyst: FakeAnalyst = field(default_factory=FakeAnalyst)
    stored: list[list[Dataset]] = field(default_factory=list)
    send_failures: list[Exception] = field(default_factory=list)
    pacs: Any = None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        settings = PacsSettings(state_dir=self.state, dimse_port=1, store_by="c-store", **self.changes)
        self.inbox = Inbox(self.state)
        self.gateway = Gateway(
            settings, self.inbox, self.analyst, lambda: nullcontext(self.pacs), self.send, clock=lambda: self.now
        )

    def send(self, files: Sequence[Path]) -> None:
        if self.send_failures:
            raise self.send_failures.pop(0)
        self.stored.append([pydicom.dcmread(path) for path in files])

    def receive(self, files: Sequence[Path]) -> None:
        for file in files:
            with self.inbox.staging() as folder:
                (folder / "x").write_bytes(file.read_bytes())
                self.inbox.add(folder / "x")

    def step(self, seconds: float = 1e6) -> None:
        self.now += seconds
        self.gateway.step()

    def records(self) -> list[RunRecord]:
        return [read_run(f) for job in self.inbox.jobs() for f in run_folders(self.inbox.runs(job))]


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Rig:
    return Rig(tmp_path / "state", getattr(request, "param", {}))


def run(folder: Path, number: int, hour: int, description: str, **tags: Any) -> list[Path]:
    def times(ds: Dataset, s: int, t: int) -> None:
        ds.AcquisitionTime = ds.ContentTime = samples.clock(hour * 3600 + 0.8 * t + 0.2 * s)

    tags = {"SeriesNumber": number, "series_uid": f"1.2.{number}", "SeriesDescription": description, **tags}
    return samples.write_study(folder / str(number), times, **tags)


def test_stress_and_rest_are_analysed_one_by_one_and_stored(tmp_path: Path, rig: Rig) -> None:
    rig.receive(run(tmp_path, 12, 10, "stress") + run(tmp_path, 20, 11, "rest"))
    rig.step()
    rig.step()
    assert sorted(rig.analyst.runs) == [["rest"], ["stress"]]
    assert [item.Modality for stored in rig.stored for item in stored] == ["SEG", "SEG"]
    assert {record.state for record in rig.records()} == {RunState.STORED}
    rig.restart()
    rig.step()
    assert (len(rig.analyst.runs), len(rig.stored)) == (2, 2)


def test_nothing_is_done_before_a_study_is_complete(tmp_path: Path, rig: Rig) -> None:
    files = run(tmp_path, 12, 10, "stress")
    rig.receive(files[:20])
    rig.now = rig.inbox.entry(job_of(samples.STUDY_UID)).changed_at + 59.0
    rig.step(0)
    assert rig.records() == []
    rig.receive(files[20:])
    rig.step(600)
    assert rig.analyst.runs == [["stress"]]


def test_instances_that_come_again_and_our_own_results_change_nothing(tmp_path: Path, rig: Rig) -> None:
    files = run(tmp_path, 12, 10, "stress")
    rig.receive(files)
    rig.step()
    rig.step()
    rig.stored[0][0].save_as(tmp_path / "seg.dcm")
    rig.receive([*files, tmp_path / "seg.dcm"])
    rig.step()
    rig.step()
    assert (len(rig.analyst.runs), len(rig.stored)) == (1, 1)


def test_a_run_that_comes_later_is_analysed_alone(tmp_path: Path, rig: Rig) -> None:
    rig.receive(run(tmp_path, 12, 10, "stress"))
    rig.step()
    rig.step()
    rig.receive(run(tmp_path, 20, 11, "rest"))
    rig.step()
    rig.step()
    assert (rig.analyst.runs, len(rig.stored)) == ([["stress"], ["rest"]], 2)


def test_what_is_no_perfusion_study_is_left_alone_with_the_reason(tmp_path: Path, rig: Rig) -> None:
    rig.receive(samples.write_study(tmp_path, n_frames=2))
    rig.step()
    entry = rig.inbox.entry(job_of(samples.STUDY_UID))
    assert "needs at least 8 frames of the same slice" in entry.reason
    assert rig.records() == []


def test_a_service_that_is_away_is_asked_again_with_longer_and_longer_pauses(tmp_path: Path, rig: Rig) -> None:
    rig.analyst.failures = [ServiceUnreachableError("service", "must answer", "ConnectError") for _ in range(10)]
    rig.receive(run(tmp_path, 12, 10, "stress"))
    rig.step()
    pauses = []
    for _ in range(10):
        (record,) = rig.records()
        pauses.append(round(record.next_try_at - rig.now))
        rig.step(record.next_try_at - rig.now - 0.5)
        assert rig.records() == [record]  # not before its time
        rig.step(0.5)
    assert pauses == [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    assert rig.records()[0].state is RunState.ANALYSED


@pytest.mark.parametrize(("status", "final"), [(422, True), (415, True), (429, False), (503, False), (401, False)])
def test_what_the_service_refuses_for_good_is_not_sent_again(
    tmp_path: Path, rig: Rig, status: int, final: bool
) -> None:
    refused = ServiceRefusedError("slice base", "must show a heart", "none")
    refused.status = status
    rig.analyst.failures = [refused]
    rig.receive(run(tmp_path, 12, 10, "stress"))
    rig.step()
    (record,) = rig.records()
    assert record.reason == "slice base: must show a heart; found none."
    rig.step()
    assert rig.records()[0].state is (RunState.REFUSED if final else RunState.ANALYSED)


def test_a_result_that_the_pacs_does_not_take_is_kept_and_offered_again(tmp_path: Path, rig: Rig) -> None:
    rig.send_failures = [ServiceRefusedError("PACS", "must take Segmentation Storage", "no context"), OSError("gone")]
    rig.receive(run(tmp_path, 12, 10, "stress"))
    for _ in range(4):
        rig.step()
    assert (len(rig.analyst.runs), len(rig.stored), rig.records()[0].state) == (1, 1, RunState.STORED)


def test_a_crash_between_results_and_record_does_not_analyse_twice(tmp_path: Path, rig: Rig) -> None:
    rig.receive(run(tmp_path, 12, 10, "stress"))
    rig.step()
    (folder,) = run_folders(rig.inbox.runs(job_of(samples.STUDY_UID)))
    fields = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**fields, "state": "found"}))  # as if it had died before the record
    rig.restart()
    rig.step()
    rig.step()
    assert (len(rig.analyst.runs), rig.records()[0].state) == (1, RunState.STORED)


@pytest.mark.parametrize("rig", [{"keep_days": 7.0}], indirect=True)
def test_images_are_removed_in_time_and_the_run_is_remembered(tmp_path: Path, rig: Rig) -> None:
    files = run(tmp_path, 12, 10, "stress")
    rig.receive(files)
    rig.now = rig.inbox.entry(job_of(samples.STUDY_UID)).changed_at
    rig.step(600)
    rig.step(600)
    assert rig.inbox.images(job_of(samples.STUDY_UID)).is_dir()
    rig.step(7 * DAY_S)
    assert not rig.inbox.images(job_of(samples.STUDY_UID)).exists()
    rig.receive(files)
    rig.step()
    rig.step()
    assert (len(rig.analyst.runs), len(rig.stored)) == (1, 1)


class FakePacs:
    """Lists studies and series; a series is fetched from a folder."""

    def __init__(self) -> None:
        self.series: dict[str, list[Path]] = {}
        self.n_fetches = 0

    def find_studies(self, date_range: str, description: str) -> list[str]:
        assert date_range.endswith("-")
        return [samples.STUDY_UID, "../../etc"]

    def list_mr_series(self, study_uid: str) -> list[SeriesListing]:
        assert study_uid == samples.STUDY_UID
        return [SeriesListing(uid, len(files)) for uid, files in self.series.items()]

    def fetch_series(self, study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        self.n_fetches += 1
        paths = []
        for i, file in enumerate(self.series[series_uid]):
            paths.append(folder / f"{i}")
            paths[-1].write_bytes(file.read_bytes())
        return paths


@pytest.mark.parametrize(
    "rig", [{"poll_s": 30.0, "quiet_s": 60.0, "dicomweb_url": "http://127.0.0.1:1"}], indirect=True
)
def test_polling_waits_until_a_study_stops_growing(tmp_path: Path, rig: Rig) -> None:
    rig.pacs = FakePacs()
    files = run(tmp_path, 12, 10, "stress")
    for n in (10, 20, 30):
        rig.pacs.series = {"1.2.12": files[:n]}
        rig.step(31)
    assert rig.pacs.n_fetches == 0
    rig.step(31)
    assert rig.pacs.n_fetches == 0  # the same for 31 s only
    rig.step(31)
    assert rig.pacs.n_fetches == 1
    for _ in range(3):
        rig.step()
    assert (rig.pacs.n_fetches, len(rig.analyst.runs), len(rig.stored)) == (1, 1, 1)
    rig.pacs.series["1.2.20"] = run(tmp_path, 20, 11, "rest")
    rig.restart()
    for _ in range(4):
        rig.step()
    assert rig.analyst.runs == [["stress"], ["rest"]]


@pytest.mark.parametrize("rig", [{"poll_s": 30.0, "dicomweb_url": "http://127.0.0.1:1"}], indirect=True)
def test_half_a_study_that_was_fetched_is_not_analysed(tmp_path: Path, rig: Rig) -> None:
    """One series a slice; the PACS goes away before the last one. Two slices would make a study, but not this one."""
    files = run(tmp_path, 12, 10, "stress")
    for i, file in enumerate(files):
        ds = pydicom.dcmread(file)
        ds.SeriesInstanceUID = f"1.2.12.{i % 3}"
        ds.save_as(file)
    rig.pacs = FakePacs()
    rig.pacs.series = {f"1.2.12.{s}": files[s::3] for s in range(3)}
    fetch = rig.pacs.fetch_series

    def goes_away(study_uid: str, series_uid: str, folder: Path) -> list[Path]:
        if series_uid.endswith("2"):
            raise ServiceUnreachableError("PACS", "must answer", "ReadError")
        return fetch(study_uid, series_uid, folder)

    rig.pacs.fetch_series = goes_away
    for _ in range(3):
        rig.step()
    rig.restart()
    rig.step()
    assert len(list(rig.inbox.images(job_of(samples.STUDY_UID)).iterdir())) == 20
    assert rig.records() == []
    rig.pacs.fetch_series = fetch
    for _ in range(4):
        rig.step()
    assert [len(record.images) for record in rig.records()] == [30]


@pytest.mark.parametrize("rig", [{"poll_s": 30.0, "dicomweb_url": "http://127.0.0.1:1"}], indirect=True)
def test_a_pacs_that_is_away_is_asked_again_later(tmp_path: Path, rig: Rig) -> None:
    class Away:
        n = 0

        def find_studies(self, *_: object) -> list[str]:
            self.n += 1
            raise ServiceUnreachableError("PACS", "must answer", "ConnectError")

    rig.pacs = Away()
    for seconds in (1.0, 29.0, 1.5, 29.0, 1.5):
        rig.step(seconds)
    assert rig.pacs.n == 3


@pytest.mark.parametrize("rig", [{"deidentify": True}], indirect=True)
def test_deidentified_images_leave_and_identified_results_return(tmp_path: Path, rig: Rig) -> None:
    tags: dict[str, Any] = {
        "InstitutionName": "Secret Hospital",
        "ProtocolName": "Secret protocol",
        "PatientComments": "Doe^Jane",
        "OtherPatientIDs": "SECRET-2",
        "StationName": "SECRET",
    }
    rig.receive(run(tmp_path, 12, 10, "stress", **tags))
    rig.step()
    rig.step()
    (header,) = rig.analyst.headers
    text = str(header)
    assert not any(secret in text for secret in (*SECRETS, "1.2.12", samples.FRAME_OF_REFERENCE_UID)), text
    assert header.PatientIdentityRemoved == "YES"
    assert [m.CodeValue for m in header.DeidentificationMethodCodeSequence] == ["113100", "113107", "113111"]
    assert header.PatientPhysiologicalStateCodeSequence[0].CodeValue == "109091"
    ((seg,),) = rig.stored
    assert (str(seg.PatientName), seg.PatientID, seg.StudyInstanceUID) == (
        "Phantom^Secret",
        "ID-SECRET",
        samples.STUDY_UID,
    )
    assert (seg.StudyDate, seg.ContentDate, seg.FrameOfReferenceUID) == (
        "20240305",
        "20240305",
        samples.FRAME_OF_REFERENCE_UID,
    )
    assert "PatientIdentityRemoved" not in seg
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.12"
    referred = {item.ReferencedSOPInstanceUID for item in seg.SourceImageSequence}
    assert referred == {f"1.2.12.{s + 1}.{t + 1}" for s in range(3) for t in range(samples.N_FRAMES)}


def test_no_log_line_names_anybody(tmp_path: Path, rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refused = ServiceRefusedError("slice base", "must show a heart", "none")
    refused.status = 422
    rig.analyst.failures = [ServiceUnreachableError("service", "must answer", "x"), refused]
    rig.send_failures = [OSError("Doe^Jane")]
    rig.receive(run(tmp_path, 12, 10, "stress Doe^Jane") + run(tmp_path, 20, 11, "rest Doe^Jane"))
    for _ in range(4):
        rig.step()
    broken = samples.write(tmp_path / "b", samples.classic(0, 0, StudyInstanceUID="1.2.77", PatientName="Doe^Jane"))
    broken.write_bytes(broken.read_bytes()[:-50])
    rig.receive([broken])
    rig.step()
    assert "run" in caplog.text
    assert not any(secret in caplog.text for secret in SECRETS), caplog.text
    assert not any(secret in str(path) for secret in SECRETS for path in rig.state.rglob("*"))
    assert not any(secret in json.dumps(rig.gateway.counts()) for secret in SECRETS)
