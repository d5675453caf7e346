"""The study store: whole or not at all, whatever is asked and whatever restarts."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import pytest

from serve.errors import ResultNotReadyError, UnknownStudyError
from serve.store.records import StudyRecord, StudyState
from serve.store.studies import StudyStore
from tests.serve.fakes import BASIS


def accept(store: StudyStore, content: bytes = b"pixels", name: str = "scan.npz") -> StudyRecord:
    with store.receive() as upload:
        upload.add(io.BytesIO(content), name)
        return upload.commit(n_sweeps=6, basis=BASIS)


def finish(store: StudyStore, study_id: str) -> StudyRecord:
    store.start(study_id, BASIS)
    results = store.results_dir(study_id)
    results.mkdir()
    (results / "result.json").write_text("{}")
    return store.finish(study_id)


def test_a_study_survives_reopening(tmp_path: Path) -> None:
    first = accept(StudyStore(tmp_path))
    again = StudyStore(tmp_path)
    assert again.get(first.id) == first
    assert again.unfinished() == [first]
    assert [path.name for path in again.upload_files(first.id)] == ["000000.npz"]
    assert again.upload_files(first.id)[0].read_bytes() == b"pixels"


def test_a_running_study_is_taken_up_again_and_a_finished_one_is_not(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    running, done, failed = accept(store), accept(store), accept(store)
    store.start(running.id, BASIS)
    finish(store, done.id)
    store.fail(failed.id, "a reason")
    again = StudyStore(tmp_path)
    assert [record.id for record in again.unfinished()] == [running.id]
    assert again.start(running.id, BASIS).n_attempts == 2
    assert again.get(failed.id).reason == "a reason"


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "..", "/etc/x.zip", "a\0b.npz", "Doe^John.dcm", "x" * 5000, "", "con.nii.gz/../.."]
)
def test_a_senders_file_name_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    store = StudyStore(tmp_path / "store")
    files = store.upload_files(accept(store, name=name).id)
    assert [path.name.split(".")[0] for path in files] == ["000000"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


@pytest.mark.parametrize(
    "hostile",
    ["../x", "..", ".", "", ".incoming", "%2e%2e", "/etc", "A" * 32, "0" * 31, "0" * 32 + "\n", "é" * 32, "0" * 32],
)
def test_an_id_that_is_none_is_unknown(tmp_path: Path, hostile: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "study.json").write_text("{}")
    store = StudyStore(tmp_path / "store")
    for ask in (
        store.get,
        partial(store.start, basis=BASIS),
        store.cancel,
        store.remove,
        store.upload_files,
        store.results_dir,
    ):
        with pytest.raises(UnknownStudyError, match="no study of this id"):
            ask(hostile)
    assert store.records() == []


def test_a_half_written_upload_is_never_a_study(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)

    class PulledCable(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if chunk := super().read(2):
                assert store.records() == []
                return chunk
            raise OSError("cable pulled")

    with store.receive() as upload, pytest.raises(OSError, match="cable pulled"):
        upload.add(PulledCable(b"half of it"), "a.npz")
    assert store.records() == []
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_what_a_crash_left_of_an_upload_is_removed_later(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    (tmp_path / ".incoming" / "deadbeef" / "upload").mkdir(parents=True)
    assert StudyStore(tmp_path).records() == []
    assert store.discard_half_written() == 0  # its sender may still be there
    assert store.discard_half_written(older_than_s=0) == 1
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_results_are_there_when_done_and_not_before(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    study_id = accept(store).id
    with pytest.raises(ResultNotReadyError, match=r"must be done before it has results; found received\. Ask again"):
        store.result_file(study_id, "result.json")
    assert finish(store, study_id).results == ("result.json",)
    assert store.result_file(study_id, "result.json").read_text() == "{}"
    with pytest.raises(ResultNotReadyError, match=r"has the results result\.json; found not umap\.dcm"):
        store.result_file(study_id, "umap.dcm")
    for hostile in ("../study.json", "../upload/000000.npz", "study.json"):
        with pytest.raises(ResultNotReadyError):
            store.result_file(study_id, hostile)


def test_a_half_written_result_of_an_earlier_attempt_is_cleared(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    study_id = accept(store).id
    leftover = store.results_dir(study_id).with_name(".results-abc.partial")
    leftover.mkdir()
    store.results_dir(study_id)
    assert not leftover.exists()


def test_a_cancelled_study_stays_cancelled(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    study_id = accept(store).id
    store.start(study_id, BASIS)
    store.note_progress(study_id, 4)
    assert store.get(study_id).n_sweeps_done == 4
    assert store.cancel(study_id).state is StudyState.CANCELLED
    for late in (
        store.finish(study_id),
        store.fail(study_id, "too late"),
        store.start(study_id, BASIS),
        store.get(study_id),
    ):
        assert (late.state, late.reason, late.n_sweeps_done) == (StudyState.CANCELLED, "", 4)


def test_removing_leaves_nothing(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    study_id = accept(store).id
    store.remove(study_id)
    with pytest.raises(UnknownStudyError):
        store.get(study_id)
    store.note_progress(study_id, 3)  # a late word of its sweeps does not bring it back
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".incoming", ".known", ".pools"]
