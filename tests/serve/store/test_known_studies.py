"""The same bytes for the same pool and settings are the same study, whatever dies in between."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from serve.store.records import StudyRecord
from serve.store.studies import StudyStore
from serve.store.uploads import Upload
from tests.serve.fakes import BASIS

FILES = {"a.dcm": b"first", "b.dcm": b"second"}


def fill(upload: Upload, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        upload.add(io.BytesIO(content), name)
    return upload.content_sha256


def accept(store: StudyStore, files: dict[str, bytes] = FILES) -> StudyRecord:
    with store.receive() as upload:
        fill(upload, files)
        return upload.commit(6, BASIS)


def hash_of(store: StudyStore, files: dict[str, bytes]) -> str:
    with store.receive() as upload:
        return fill(upload, files)


def finish(store: StudyStore, study_id: str, n_absent: int = 0) -> None:
    store.start(study_id, BASIS)
    store.results_dir(study_id).mkdir()
    store.finish(study_id, n_absent)


def test_the_same_bytes_are_recognised_in_any_order_and_after_a_restart(tmp_path: Path) -> None:
    record = accept(StudyStore(tmp_path))
    again = StudyStore(tmp_path)
    renamed = {"y.dcm": b"second", "x.dcm": b"first"}
    assert again.recognise(hash_of(again, renamed), BASIS) == record
    for other in ({"a.dcm": b"first"}, {"a.dcm": b"firstsecond"}, {"a.npz": b"first", "b.dcm": b"second"}):
        assert again.recognise(hash_of(again, other), BASIS) is None


@pytest.mark.parametrize("field", ["pool_sha256", "settings_sha256"])
def test_another_pool_or_other_settings_are_another_answer(tmp_path: Path, field: str) -> None:
    store = StudyStore(tmp_path)
    record = accept(store)
    other = replace(BASIS, **{field: "f" * 64})
    assert store.recognise(record.content_sha256, other) is None
    store.start(record.id, other)  # taken up with another pool after a restart
    assert store.recognise(record.content_sha256, BASIS) is None
    assert store.recognise(record.content_sha256, other) == store.get(record.id)


def test_what_failed_was_cancelled_was_removed_or_lacks_members_is_computed_again(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)

    def found() -> StudyRecord | None:
        return store.recognise(hash_of(store, FILES), BASIS)

    failed = accept(store)
    store.fail(failed.id, "a reason")
    assert found() is None
    cancelled = accept(store)
    store.cancel(cancelled.id)
    assert found() is None
    partial = accept(store)
    finish(store, partial.id, n_absent=1)
    assert found() is None
    whole = accept(store)
    finish(store, whole.id)
    assert found() == store.get(whole.id)
    store.remove(partial.id)
    assert found() == store.get(whole.id)
    store.remove(whole.id)
    assert found() is None
    assert [path.name for path in (tmp_path / ".known").iterdir() if path.name != ".lock"] == []


def test_a_crash_between_the_entry_and_the_study_leaves_nothing_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StudyStore(tmp_path)

    def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash)
        with pytest.raises(OSError, match="power cut"):
            accept(store)
    assert store.records() == []
    assert store.recognise(hash_of(store, FILES), BASIS) is None
    assert store.recognise(hash_of(store, FILES), BASIS) != accept(store)
    assert len(store.records()) == 1
