"""A word alone makes no ASL of a first pass; with control and labelled images, or pairs, beside it a study is ASL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pool.asl.inputs import AslInput, open_any_study, open_asl_study
from pool.dicom.read import read_study_content
from pool.errors import InconsistentStudyError
from pool.inputs import StudyInput, open_study
from pool.run_choice import Role, RunChoice
from tests.pool.dicom import asl_samples as asl
from tests.pool.dicom import dicom_samples as samples
from tests.pool.dicom.test_asl_read import check

N_PAIRS = 8
IMAGES = [("baseline", 0), *((kind, pair) for pair in range(N_PAIRS) for kind in ("control", "labelled"))]
BARE: dict[str, Any] = {"ImageComments": None, "SeriesDescription": "x", "ProtocolName": "x"}
BARE_MAGNITUDE = BARE | {"ImageType": ["ORIGINAL", "PRIMARY", "M"]}
TIMELESS: dict[str, Any] = {"AcquisitionTime": None, "ContentTime": None, "AcquisitionDate": None}


@pytest.mark.parametrize(
    ("tag", "words", "role"),
    [
        ("SeriesDescription", "stress perfusion FAIR breathhold", Role.STRESS),
        ("ProtocolName", "DR FAIR rest perf", Role.REST),
        ("ImageComments", "reviewed by ASL", Role.PERFUSION),
        ("SeriesDescription", "perf ASL", Role.PERFUSION),
    ],
)
def test_a_first_pass_stays_one_whatever_a_word_says(tmp_path: Path, tag: str, words: str, role: Role) -> None:
    samples.write_study(tmp_path / "plain")
    samples.write_study(tmp_path / "named", **{tag: words})
    wanted = open_study(tmp_path / "plain").series
    for reader in (open_study, open_any_study):
        found = reader(tmp_path / "named")
        assert isinstance(found, StudyInput)
        assert found.series.frames.tobytes() == wanted.frames.tobytes()
        assert found.dicom is not None
        assert found.dicom.role is role
    assert read_study_content(sorted((tmp_path / "named").iterdir())).roles == (role,)


def test_of_a_first_pass_called_fair_and_an_asl_run_each_is_read_as_what_it_is(tmp_path: Path) -> None:
    samples.write_study(tmp_path / "fair", SeriesDescription="stress perfusion FAIR breathhold")
    of_asl = {"SeriesInstanceUID": "1.2.3.4.9", "SeriesNumber": 31, "ImageType": ["ORIGINAL", "PRIMARY", "M"]}
    asl.write(tmp_path / "asl", asl.run(N_PAIRS, SeriesDescription="FAIR", **of_asl))
    found = open_any_study(tmp_path)
    assert isinstance(found, StudyInput)
    assert "left out 17 frames of series 31: other, arterial spin labelling" in found.series.remarks
    check(open_asl_study(tmp_path), range(N_PAIRS))


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("SeriesDescription", {"control": "ASL Control", "labelled": "ASL Tagged", "baseline": "ASL M0"}),
        (
            "ProtocolName",
            {"control": "FAIR_slice-selective", "labelled": "FAIR nonSelective", "baseline": "fair no inv"},
        ),
        ("ImageComments", {"control": "untagged", "labelled": "tag", "baseline": "M_ZERO"}),
    ],
)
@pytest.mark.parametrize("per_kind", [False, True])
def test_a_long_asl_run_told_by_words_is_asl(
    tmp_path: Path, tag: str, words: dict[str, str], *, per_kind: bool
) -> None:
    images = []
    for kind, pair in IMAGES:
        series = {"SeriesInstanceUID": f"1.2.3.9.{len(kind)}", "SeriesNumber": len(kind)} if per_kind else {}
        images.append(asl.image(kind, pair, **(BARE | series | {tag: words[kind]})))
    found = open_any_study(asl.write(tmp_path, images))
    assert isinstance(found, AslInput)
    check(found, range(N_PAIRS))


def counted(folder: Path, n: int, description: str) -> Path:
    """Images without a time of day, of which TriggerTime alone says when they were taken."""
    images = asl.run(N_PAIRS, **BARE_MAGNITUDE | TIMELESS | {"SeriesDescription": description})[1 : n + 1]
    for i, ds in enumerate(images):
        ds.TriggerTime = 6000.0 * i
    return asl.write(folder, images)


@pytest.mark.parametrize("n_lost", [0, 1])
def test_the_times_of_pairs_bear_out_asl_even_if_an_image_was_lost(tmp_path: Path, n_lost: int) -> None:
    images = asl.run(N_PAIRS, **BARE_MAGNITUDE | {"SeriesDescription": "myocardial ASL"})
    folder = asl.write(tmp_path, images[: len(images) - n_lost])
    with pytest.raises(InconsistentStudyError, match="needs to know its control images from its labelled ones"):
        open_any_study(folder)
    with pytest.raises(InconsistentStudyError, match="found arterial spin labelling alone"):
        open_study(folder)


def test_without_a_clock_an_even_number_bears_out_asl(tmp_path: Path) -> None:
    even, odd = counted(tmp_path / "even", 12, "myocardial ASL"), counted(tmp_path / "odd", 11, "myocardial ASL")
    with pytest.raises(InconsistentStudyError, match="needs to know its control images from its labelled ones"):
        open_any_study(even)
    assert isinstance(open_any_study(odd), StudyInput)


def test_neither_bears_out_fair_unless_the_user_asks_for_asl(tmp_path: Path) -> None:
    folder = asl.write(tmp_path, asl.run(N_PAIRS, **BARE_MAGNITUDE | {"SeriesDescription": "FAIR"}))
    assert isinstance(open_any_study(folder), StudyInput)
    with pytest.raises(InconsistentStudyError, match="needs to know its control images from its labelled ones"):
        open_asl_study(folder)
    chosen = open_any_study(folder, RunChoice(pair_starts_with="control"))
    assert isinstance(chosen, AslInput)
    assert len(chosen.series.control) == N_PAIRS
