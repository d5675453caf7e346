"""ASL studies in DICOM: what every image is, which ones belong together, where their sign is."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence

from pool.asl.inputs import AslInput, open_any_study, open_asl_study
from pool.guarded import open_any_guarded
from pool.inputs import StudyInput, open_study
from pool.run_choice import Role, RunChoice
from tests.pool.dicom import asl_samples as asl
from tests.pool.dicom import dicom_samples as samples

ALL = range(3)
ENHANCED = [("baseline", 0), *((kind, pair) for pair in ALL for kind in ("control", "labelled"))]


def check(found: AslInput, pairs: Sequence[int] = ALL, baseline: bool = True) -> None:
    series = found.series
    assert np.array_equal(series.control, asl.frames("control", pairs))
    assert np.array_equal(series.labelled, asl.frames("labelled", pairs))
    if baseline:
        assert series.baseline is not None
        assert np.array_equal(series.baseline, asl.frames("baseline", [0])[0])
    assert series.ti_s is not None
    assert series.ti_s == pytest.approx(asl.times_s(pairs))
    assert series.pixel_spacing_mm == (samples.ROW_MM, samples.COL_MM)
    assert (series.field_t, series.flow_refused) == (3.0, "")


def test_single_frame_files_are_told_by_their_comments(tmp_path: Path) -> None:
    found = open_asl_study(asl.write(tmp_path, asl.run()))
    check(found)
    assert found.series.remarks == ("control, labelled and baseline images told by image type and comments",)


def test_results_refer_to_patient_place_and_files(tmp_path: Path) -> None:
    dicom = open_asl_study(asl.write(tmp_path, asl.run())).dicom
    assert dicom is not None
    assert dicom.identity["PatientID"] == "ID-SECRET"
    assert dicom.geometry[0].position_mm == pytest.approx(samples.position(1))
    assert dicom.geometry[0].orientation == samples.ORIENTATION
    assert (dicom.grid, dicom.thickness_mm) == ((1, samples.ROWS, samples.COLS), 8.0)
    numbers = [int(frame.sop_instance_uid.rsplit(".")[-1]) for frame in dicom.sources[0]]
    assert numbers == [2, 4, 6, 3, 5, 7, 1]  # control, labelled, baseline
    assert {frame.sop_class_uid for frame in dicom.sources[0]} == {samples.MR}


def test_a_multi_frame_file_is_told_by_asl_context(tmp_path: Path) -> None:
    samples.write(tmp_path / "x.dcm", asl.enhanced(ENHANCED))
    found = open_asl_study(tmp_path)
    check(found)
    assert found.series.remarks == ("control, labelled and baseline images told by ASL Context",)
    assert found.dicom is not None
    assert [frame.frame_number for frame in found.dicom.sources[0]] == [2, 4, 6, 3, 5, 7, 1]


def test_a_zip_and_a_list_of_files_are_read_too(tmp_path: Path) -> None:
    folder = asl.write(tmp_path / "f", asl.run())
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    check(open_asl_study(tmp_path / "s.zip"))
    check(open_asl_study(sorted(folder.iterdir())))


def test_a_child_reads_the_same_and_finds_out_what_it_is(tmp_path: Path) -> None:
    folder = asl.write(tmp_path / "f", asl.run(PatientName="Müller^Äöü", SpecificCharacterSet="ISO_IR 192"))
    here = open_asl_study(folder)
    assert here.dicom is not None
    for there in (open_any_guarded(folder), open_any_guarded(sorted(folder.iterdir())), open_any_study(folder)):
        assert isinstance(there, AslInput)
        assert there.dicom is not None
        assert there.series.content_sha256() == here.series.content_sha256()
        assert there.series.remarks == here.series.remarks
        assert vars(there.dicom) == vars(here.dicom)
        assert there.dicom.identity["PatientName"] == "Müller^Äöü"


def test_a_first_pass_stays_one(tmp_path: Path) -> None:
    samples.write_study(tmp_path)
    for found in (open_any_study(tmp_path), open_any_guarded(tmp_path)):
        assert isinstance(found, StudyInput)
        assert found.series.content_sha256() == open_study(tmp_path).series.content_sha256()


@pytest.mark.parametrize(("component", "why"), [("R", "no magnitude images"), ("M", "other, arterial spin labelling")])
def test_of_an_examination_with_both_the_first_pass_is_read_unless_asl_is_asked_for(
    tmp_path: Path, component: str, why: str
) -> None:
    samples.write_study(tmp_path)
    asl.write(
        tmp_path / "asl",
        asl.run(8, SeriesInstanceUID="1.2.3.4.9", SeriesNumber=31, ImageType=["ORIGINAL", "PRIMARY", component]),
    )
    found = open_any_study(tmp_path)
    assert isinstance(found, StudyInput)
    assert f"left out 17 frames of series 31: {why}" in found.series.remarks
    check(open_asl_study(tmp_path), range(8))
    chosen = open_any_study(tmp_path, RunChoice(series_uids=("1.2.3.4.9",)))
    assert isinstance(chosen, AslInput)
    assert len(chosen.series.control) == 8


@pytest.mark.parametrize(
    ("words", "tag"),
    [
        ({"control": "ASL Control", "labelled": "ASL Tagged", "baseline": "ASL M0"}, "SeriesDescription"),
        (
            {"control": "FAIR_slice-selective", "labelled": "FAIR nonSelective", "baseline": "fair no inv"},
            "ProtocolName",
        ),
        ({"control": "untagged", "labelled": "tag", "baseline": "M_ZERO"}, "ImageComments"),
        (
            {"control": "Arterial spin labeling ctrl", "labelled": "Spin Labelling LBL", "baseline": "baseline"},
            "ImageComments",
        ),
    ],
)
def test_words_tell_images_apart(tmp_path: Path, words: dict[str, str], tag: str) -> None:
    bare = {"ImageComments": None, "SeriesDescription": "x", "ProtocolName": "x"}
    images = [("baseline", 0), *((kind, pair) for pair in ALL for kind in ("control", "labelled"))]
    check(
        open_asl_study(
            asl.write(tmp_path, [asl.image(kind, pair, **(bare | {tag: words[kind]})) for kind, pair in images])
        )
    )


def test_the_image_type_and_a_public_sequence_in_a_single_frame_file_count_as_well(tmp_path: Path) -> None:
    typed = [asl.image(kind, pair, ImageComments=None) for kind, pair in ENHANCED]
    for (kind, _), ds in zip(ENHANCED, typed, strict=True):
        ds.ImageType = ["ORIGINAL", "PRIMARY", "R", {"control": "CONTROL", "labelled": "LABEL", "baseline": "M0"}[kind]]
    check(open_asl_study(asl.write(tmp_path / "type", typed)))
    public = [asl.image(kind, pair, ImageComments="control label") for kind, pair in ENHANCED]
    for (kind, _), ds in zip(ENHANCED, public, strict=True):
        item = Dataset()
        item.ASLContext = asl.CONTEXTS[kind]
        ds.MRArterialSpinLabelingSequence = DicomSequence([item])
    check(open_asl_study(asl.write(tmp_path / "public", public)))


def test_the_users_word_goes_before_the_headers(tmp_path: Path) -> None:
    kinds: dict[str, int] = {"control": 41, "labelled": 42, "baseline": 43}
    images = []
    for kind, pair in ENHANCED:
        uid = f"1.2.3.9.{kinds[kind]}"
        words = {"ImageComments": "control", "SeriesNumber": kinds[kind], "SeriesInstanceUID": uid}
        images.append(asl.image(kind, pair, SeriesDescription="x", **words))
    roles = {str(number): Role(kind) for kind, number in kinds.items()}
    folder = asl.write(tmp_path, images)
    check(open_asl_study(folder, RunChoice(roles=roles)))
    asked = open_any_guarded(folder, RunChoice(roles=roles))
    assert isinstance(asked, AslInput)
    check(asked)


@pytest.mark.parametrize("first", ["control", "labelled"])
def test_images_without_words_are_told_by_their_order_if_the_user_says_who_leads(tmp_path: Path, first: str) -> None:
    bare: dict[str, Any] = {"ImageComments": None, "SeriesDescription": "bSSFP"}
    folder = asl.write(tmp_path, asl.run(**bare))
    found = open_asl_study(folder, RunChoice(pair_starts_with=first)).series
    other = "labelled" if first == "control" else "control"
    assert np.array_equal(found.control, asl.frames(first, ALL))
    assert np.array_equal(found.labelled, asl.frames(other, ALL))
    assert found.baseline is not None  # the image without an inversion time
    assert np.array_equal(found.baseline, asl.frames("baseline", [0])[0])
    swapped = [remark for remark in found.remarks if remark.endswith("are the two swapped?")]
    assert len(swapped) == (first == "labelled")


def test_who_leads_is_not_asked_where_images_say_what_they_are(tmp_path: Path) -> None:
    found = open_asl_study(asl.write(tmp_path, asl.run()), RunChoice(pair_starts_with="labelled"))
    check(found)
    assert "--pair-starts-with was not needed: the images say what they are" in found.series.remarks


def test_what_the_scanner_made_of_the_pairs_is_left_out(tmp_path: Path) -> None:
    made = asl.image("baseline", 0, ImageComments=None, SOPInstanceUID="1.2.9", ImageType=["DERIVED", "PRIMARY", "R"])
    found = open_asl_study(asl.write(tmp_path, [*asl.run(), made]))
    check(found)
    assert "left out 1 image that says it is neither control nor labelled" in found.series.remarks


def test_real_images_are_taken_rather_than_their_magnitude(tmp_path: Path) -> None:
    magnitude = [
        asl.image(
            kind,
            pair,
            ImageType=["ORIGINAL", "PRIMARY", "M"],
            SeriesInstanceUID="1.2.3.4.8",
            SOPInstanceUID=f"1.2.8.{i}",
            PixelData=np.abs(asl.stored(kind, pair)).tobytes(),
        )
        for i, (kind, pair) in enumerate(ENHANCED)
    ]
    found = open_asl_study(asl.write(tmp_path, [*asl.run(), *magnitude]))
    check(found)
    assert "left out 7 images that are not real" in found.series.remarks


def test_the_motion_corrected_twin_is_taken_unless_the_original_is_asked_for(tmp_path: Path) -> None:
    twin = [
        asl.image(
            kind,
            pair,
            SeriesDescription="myocardial ASL_MOCO",
            SeriesInstanceUID="1.2.3.4.8",
            SOPInstanceUID=f"1.2.8.{i}",
            PixelData=(asl.stored(kind, pair) + 1).tobytes(),
        )
        for i, (kind, pair) in enumerate(ENHANCED)
    ]
    folder = asl.write(tmp_path, [*asl.run(), *twin])
    corrected = open_asl_study(folder).series
    assert np.array_equal(corrected.control, asl.frames("control", ALL) + asl.SLOPE)
    check(open_asl_study(folder, RunChoice(original=True)))


def test_a_run_is_chosen_where_there_are_two(tmp_path: Path) -> None:
    rest = asl.run(SeriesDescription="ASL rest", SeriesInstanceUID="1.2.3.4.7")
    stress = [
        asl.image(
            kind, pair, SeriesDescription="ASL stress", SeriesInstanceUID="1.2.3.4.8", SOPInstanceUID=f"1.2.8.{i}"
        )
        for i, (kind, pair) in enumerate([*ENHANCED, ("control", 3), ("labelled", 3)])
    ]
    folder = asl.write(tmp_path, [*rest, *stress])
    found = open_asl_study(folder, RunChoice(run="stress"))
    check(found, range(4))
    assert found.dicom is not None
    assert found.dicom.role is Role.STRESS
    assert "left out 7 images of another run than stress" in found.series.remarks
    check(open_asl_study(folder, RunChoice(run="rest")))
