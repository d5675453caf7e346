"""Reading in a child process: the same study, the same refusals, and an end to whatever does not end by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import pool.guarded
from pool.dicom.read import DicomStudy
from pool.errors import EmptyStudyError, SettingsError, StudyError, UnreadableFileError
from pool.guarded import ReadingLimits, open_study_guarded
from pool.guarded_transfer import _SERIES_FIELDS, ANSWER, Answer, unpack_error, unpack_study
from pool.inputs import open_study
from pool.series import PerfusionSeries
from tests.pool.dicom import dicom_samples as samples
from tests.samples import bolus_series, write_npz


def test_a_dicom_study_comes_through_unchanged(tmp_path: Path) -> None:
    name = "Müller^Äöü=山田^太郎"
    samples.write_study(tmp_path, SpecificCharacterSet="ISO_IR 192", PatientName=name)
    here, there = open_study(tmp_path), open_study_guarded(tmp_path)
    assert there.series.content_sha256() == here.series.content_sha256()
    assert (there.series.slice_names, there.series.remarks) == (here.series.slice_names, here.series.remarks)
    assert here.dicom is not None
    assert there.dicom is not None
    assert there.dicom.sources == here.dicom.sources
    assert there.dicom.identity == here.dicom.identity
    assert there.dicom.identity["PatientName"] == name
    assert there.dicom.sorting == here.dicom.sorting
    assert (there.dicom.thickness_mm, there.dicom.warnings) == (8.0, ())


def test_an_array_comes_through_unchanged(tmp_path: Path) -> None:
    series = bolus_series()
    there = open_study_guarded([write_npz(tmp_path / "s.npz", series)])
    assert there.dicom is None
    assert np.array_equal(there.series.frames, series.frames)
    assert there.series.content_sha256() == series.content_sha256()


def test_a_refusal_comes_through_in_its_own_words(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    files[3].write_bytes(files[3].read_bytes()[:-100])
    with pytest.raises(StudyError) as here:
        open_study(tmp_path)
    with pytest.raises(StudyError) as there:
        open_study_guarded(tmp_path)
    assert (type(there.value), str(there.value)) == (type(here.value), str(here.value))


def test_a_reader_that_wants_more_memory_is_refused(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "s.npz",
        frames=np.zeros((1, 30, 512, 512), dtype=np.float32),
        times_s=np.arange(30.0),
        pixel_spacing_mm=[1.0, 1.0],
    )
    with pytest.raises(UnreadableFileError) as caught:
        open_study_guarded(tmp_path / "s.npz", limits=ReadingLimits(memory_mb=20))
    assert "MemoryError" in str(caught.value)


def test_a_reader_that_comes_to_no_end_is_killed_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    path = write_npz(tmp_path / "study.npz", bolus_series())
    with pytest.raises(UnreadableFileError) as caught:
        open_study_guarded(path, limits=ReadingLimits(seconds=0.05))  # no interpreter starts within that
    assert str(caught.value) == (
        "study: must be readable with 3072 MB of memory in 0.05 s; found a reader that came to no end. "
        "Send one series alone, as the scanner exported it."
    )
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_reader_dies_with_its_parent() -> None:
    """The reader waits for input that never comes, and holds the only other end of the pipe that is read here."""
    reader = "import os, sys; from pool.guarded_child import limit; limit(10**9, 60, os.getppid()); "
    reader += "print('ready', flush=True); sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {reader!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"ready\n"
    parent.kill()
    parent.wait()
    assert parent.stdout.read() == b""  # returns once the reader is gone


def test_no_secret_of_the_environment_reaches_the_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, str] = {}

    class StoppedError(Exception):
        pass

    def popen(*_: object, env: dict[str, str], **__: object) -> None:
        seen.update(env)
        raise StoppedError

    monkeypatch.setenv("SERVICE_TOKEN", "secret")
    monkeypatch.setattr(pool.guarded.subprocess, "Popen", popen)
    with pytest.raises(StoppedError):
        open_study_guarded(tmp_path)
    assert "PYTHONPATH" in seen
    assert "secret" not in seen.values()


@pytest.mark.parametrize(
    "answer",
    [
        "no json",
        json.dumps({"error": None, "series": None, "dicom": None, "content": None}),
        json.dumps({"error": None, "series": {"geometry": 3}, "dicom": None, "content": None}),
        json.dumps([1]),
        json.dumps({"other": 1}),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_refusal(tmp_path: Path, answer: str) -> None:
    (tmp_path / ANSWER).write_text(answer)
    with pytest.raises(StudyError, match="an answer of the reader that makes no sense"):
        unpack_study(Answer.load(tmp_path / ANSWER), tmp_path)


def test_an_error_is_one_of_ours_whatever_it_claims_to_be() -> None:
    fields = {"subject": "study", "rule": "needs files", "found": "none", "remedy": ""}
    assert type(unpack_error({"error": "EmptyStudyError", **fields})) is EmptyStudyError
    for claimed in ("SystemExit", "annotations", "PoolError", "__loader__"):
        assert type(unpack_error({"error": claimed, **fields})) is UnreadableFileError


@pytest.mark.parametrize("wrong", [{"memory_mb": 0}, {"seconds": 0.0}, {"seconds": float("nan")}])
def test_limits_are_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="reading limits: must be positive"):
        ReadingLimits(**wrong)  # type: ignore[arg-type]


def test_every_field_of_a_study_is_carried() -> None:
    """A new field that is forgotten in `pool.guarded_transfer` would be lost on the way."""
    carried = {*_SERIES_FIELDS, "geometry", "sequence", "frames", "times_s"}
    assert {field.name for field in fields(PerfusionSeries)} == carried
    of_dicom = {"series", "sources", "identity", "thickness_mm", "warnings", "role", "sorting"}
    assert {field.name for field in fields(DicomStudy)} == of_dicom
