"""What an upload is, an ASL study or a first pass, told in this process and in a child."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from pool.asl.inputs import AslInput, open_any_study, open_asl_study
from pool.asl.series import AslSeries
from pool.dicom.asl.read import AslDicom
from pool.errors import EmptyStudyError, StudyError
from pool.guarded import open_any_guarded
from pool.guarded_asl import ARRAY_FIELDS, DICOM_FIELDS, PLAIN_FIELDS, unpack_asl
from pool.guarded_transfer import Answer
from pool.inputs import StudyInput
from tests.samples import bolus_series, write_npz


def write_asl_npz(path: Path, **changes: np.ndarray) -> Path:
    images = np.random.default_rng(0).normal(size=(5, 8, 8)).astype(np.float32)
    arrays = {"control": images[:2], "labelled": images[2:4], "baseline": images[4]}
    arrays |= {"ti_s": np.full((2, 2), 0.9), "pixel_spacing_mm": np.array([2.5, 2.5])}
    np.savez(path, **(arrays | changes))
    return path


def test_an_array_file_is_told_by_its_arrays_here_and_in_a_child(tmp_path: Path) -> None:
    asl, first_pass = write_asl_npz(tmp_path / "a.npz"), write_npz(tmp_path / "p.npz", bolus_series())
    here = open_asl_study(asl)
    for found in (open_any_study(asl), open_any_guarded([asl]), open_any_guarded(asl)):
        assert isinstance(found, AslInput)
        assert found.dicom is None
        assert found.series.content_sha256() == here.series.content_sha256()
    for other in (open_any_study(first_pass), open_any_guarded(first_pass)):
        assert isinstance(other, StudyInput)
        assert np.array_equal(other.series.frames, bolus_series().frames)


def test_a_refusal_is_the_same_here_and_in_a_child(tmp_path: Path) -> None:
    wrong = write_asl_npz(tmp_path / "a.npz", labelled=np.zeros((1, 8, 8), np.float32))
    for here in (open_asl_study, open_any_study):
        with pytest.raises(StudyError, match="needs control and labelled images, pairs of one size") as one:
            here(wrong)
        with pytest.raises(StudyError) as two:
            open_any_guarded(wrong)
        assert (type(two.value), str(two.value)) == (type(one.value), str(one.value))


def test_nothing_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    for study in ([], tmp_path / "missing.npz", tmp_path / "empty.npz"):
        with pytest.raises(EmptyStudyError):
            open_any_study(study)
        with pytest.raises(EmptyStudyError):
            open_asl_study(study)


@pytest.mark.parametrize("asl", [{}, {"arrays": ["control"]}, {"arrays": 3, "pixel_spacing_mm": [1]}])
def test_an_answer_that_makes_no_sense_is_a_refusal(tmp_path: Path, asl: dict[str, object]) -> None:
    with pytest.raises(StudyError, match="an answer of the reader that makes no sense"):
        unpack_asl(Answer(None, None, None, None, asl), tmp_path)


def test_every_field_of_an_asl_series_is_carried() -> None:
    """A new field that is forgotten in `pool.guarded_asl` would be lost on the way."""
    assert {field.name for field in fields(AslSeries)} == {*ARRAY_FIELDS, *PLAIN_FIELDS}
    assert {field.name for field in fields(AslDicom)} == {"sources", "identity", "geometry", *DICOM_FIELDS}
