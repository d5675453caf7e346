"""ASL studies in DICOM that cannot be read, or not all of it: refused in a sentence, or left out with a remark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pool.asl.inputs import open_any_study, open_asl_study
from pool.dicom.opening import MOST_PIXELS
from pool.errors import (
    InconsistentStudyError,
    NonFiniteError,
    SettingsError,
    StudyError,
    UnreadableFileError,
    UnsupportedFileError,
)
from pool.guarded import open_any_guarded
from pool.inputs import open_study
from pool.run_choice import Role, RunChoice
from tests.pool.dicom import asl_samples as asl
from tests.pool.dicom import dicom_samples as samples
from tests.pool.dicom.test_asl_read import check


def refusal(folder: Path, datasets: list[Dataset], choice: RunChoice | None = None) -> str:
    with pytest.raises(StudyError) as caught:
        open_asl_study(asl.write(folder, datasets), choice)
    return str(caught.value)


def test_without_a_word_the_remedy_is_named(tmp_path: Path) -> None:
    bare: dict[str, Any] = {"ImageComments": None}
    assert refusal(tmp_path, asl.run(**bare)) == (
        "arterial spin labelling: needs to know its control images from its labelled ones; found 6 images without a "
        "word of it (series 12). Say what a series is by --series NUMBER=control, NUMBER=labelled or NUMBER=baseline, "
        "or which image leads every pair by --pair-starts-with control or labelled."
    )
    assert "must hold arterial spin labelling; found no attribute or word of it" in refusal(
        tmp_path / "nothing", asl.run(**bare, SeriesDescription="bSSFP")
    )


def test_an_odd_number_or_no_order_cannot_be_told_by_order(tmp_path: Path) -> None:
    choice = RunChoice(pair_starts_with="control")
    bare: dict[str, Any] = {"ImageComments": None}
    assert "5 images without a word of it (series 12), an odd number" in refusal(
        tmp_path / "odd", asl.run(baseline=False, **bare)[:-1], choice
    )
    timeless = asl.run(baseline=False, AcquisitionTime=None, ContentTime=None, AcquisitionDate=None, **bare)
    for ds in timeless:
        ds.InstanceNumber = 1
    assert "and no times or numbers that order them" in refusal(tmp_path / "timeless", timeless, choice)


def test_one_kind_alone_is_refused(tmp_path: Path) -> None:
    control = [asl.image("control", pair) for pair in range(3)]
    said = refusal(tmp_path / "a", [*control, asl.image("labelled", 0, ImageComments=None)])
    assert "needs control and labelled images, each said to be one" in said
    assert "found 3 control, 0 labelled, 0 baseline and 1 that say nothing (series 12)" in said


@pytest.mark.parametrize("gone", [0, 1, 2, 3, 4, 5])
def test_an_image_without_its_partner_is_left_out_with_it(tmp_path: Path, gone: int) -> None:
    images = asl.run()
    del images[1 + gone]
    found = open_asl_study(asl.write(tmp_path, images))
    check(found, [pair for pair in range(3) if pair != gone // 2])
    kind = "labelled" if gone % 2 == 0 else "control"
    assert f"left out 1 {kind} image without its partner" in found.series.remarks


def test_two_missing_halves_of_two_pairs_leave_the_others_as_they_are(tmp_path: Path) -> None:
    images = asl.run(5, baseline=False)
    kept = [ds for i, ds in enumerate(images) if i not in (0, 7)]  # the first control, the fourth labelled
    found = open_asl_study(asl.write(tmp_path, kept))
    check(found, [1, 2, 4], baseline=False)
    assert "left out 1 control and 1 labelled images without their partners" in found.series.remarks


def test_evenly_spaced_images_of_which_one_is_missing_are_refused(tmp_path: Path) -> None:
    images = asl.run(baseline=False)
    for i, ds in enumerate(images):
        ds.AcquisitionTime = ds.ContentTime = samples.clock(36000 + 10 * i)
    said = refusal(tmp_path, images[1:])
    assert "found 2 control and 3 labelled, and nothing that tells which ones lack a partner" in said


def test_images_in_blocks_belong_together_one_by_one(tmp_path: Path) -> None:
    def in_blocks(ds: Dataset, i: int) -> Dataset:
        ds.AcquisitionTime = ds.ContentTime = samples.clock(36000 + i)
        return ds

    control = [in_blocks(asl.image("control", pair), pair) for pair in range(3)]
    labelled = [in_blocks(asl.image("labelled", pair), 100 + pair) for pair in range(3)]
    check(open_asl_study(asl.write(tmp_path / "whole", [*labelled, *control])), baseline=False)
    assert "nothing that tells which ones lack a partner" in refusal(tmp_path / "cut", [*labelled[:2], *control])


def test_a_temporal_position_of_both_kinds_pairs_them(tmp_path: Path) -> None:
    images = [asl.image(k, p, TemporalPositionIdentifier=p + 1) for p in range(4) for k in ("control", "labelled")]
    for ds in images:
        ds.AcquisitionTime = ds.ContentTime = samples.clock(36000 + 10 * int(ds.InstanceNumber))
    found = open_asl_study(asl.write(tmp_path, [ds for i, ds in enumerate(images) if i not in (0, 5)]))
    check(found, [1, 3], baseline=False)


def test_two_slices_and_two_grids_are_refused(tmp_path: Path) -> None:
    moved = asl.image("control", 2, ImagePositionPatient=list(samples.position(2)))
    said = refusal(tmp_path / "slices", [*asl.run(2), moved, asl.image("labelled", 2)])
    assert "needs the images of one slice; found 2 slices" in said
    coarse = asl.image("control", 2, PixelSpacing=[3.0, 3.0])
    said = refusal(tmp_path / "grids", [*asl.run(2), coarse, asl.image("labelled", 2)])
    assert "found 12 x 16 pixels of 2.5 x 2 mm and 12 x 16 pixels of 3 x 3 mm" in said


def test_a_baseline_elsewhere_is_left_out_and_with_it_the_flow(tmp_path: Path) -> None:
    found = open_asl_study(
        asl.write(tmp_path, [*asl.run(baseline=False), asl.image("baseline", 0, PixelSpacing=[3.0, 3.0])])
    )
    check(found, baseline=False)
    assert found.series.baseline is None
    assert {"left out 1 baseline image of another slice or grid", "no baseline image: flow is not measured"} <= set(
        found.series.remarks
    )


def test_two_baselines_are_averaged(tmp_path: Path) -> None:
    second = asl.image("baseline", 0, SOPInstanceUID="1.2.9", PixelData=(asl.stored("baseline", 0) + 8).tobytes())
    found = open_asl_study(asl.write(tmp_path, [*asl.run(), second])).series
    assert found.baseline is not None
    assert np.array_equal(found.baseline, asl.frames("baseline", [0])[0] + 4 * asl.SLOPE)
    assert "baseline is the mean of 2 images" in found.remarks


def test_spacing_and_place_are_never_guessed(tmp_path: Path) -> None:
    assert "found no PixelSpacing" in refusal(tmp_path / "a", asl.run(PixelSpacing=None))
    assert "found an impossible PixelSpacing" in refusal(tmp_path / "b", asl.run(PixelSpacing=[0.0, 2.0]))
    assert "needs a pixel spacing between 0 and 100 mm" in refusal(tmp_path / "c", asl.run(PixelSpacing=[250.0, 250.0]))


def test_two_patients_are_refused(tmp_path: Path) -> None:
    images = asl.run()
    images[3].PatientID = "OTHER"
    assert "must be of one patient" in refusal(tmp_path, images)


@pytest.mark.parametrize("ti_ms", [None, 0.0, 0.9, 1e9])
def test_a_time_that_is_not_stated_or_cannot_be_meant_costs_the_flow(tmp_path: Path, ti_ms: float | None) -> None:
    images = asl.run()
    if ti_ms is None:
        del images[2].InversionTime
    else:
        images[2].InversionTime = ti_ms
    found = open_asl_study(asl.write(tmp_path, images)).series
    assert found.ti_s is None
    assert "no inversion times in the headers: flow is not measured" in found.remarks


def magnitude(ti_ms: float, **changes: Any) -> list[Dataset]:
    images = asl.run(ImageType=["ORIGINAL", "PRIMARY", "M", "ND"], **changes)
    for i, ds in enumerate(images):
        ds.PixelData = np.abs(np.frombuffer(ds.PixelData, np.int16)).tobytes()
        if i:
            ds.InversionTime = ti_ms
    return images


def test_magnitude_images_give_flow_where_muscle_is_surely_positive_alone(tmp_path: Path) -> None:
    late = open_asl_study(asl.write(tmp_path / "late", magnitude(1000.0))).series
    assert late.flow_refused == ""
    assert "magnitude images: control and labelled images have lost their sign" in late.remarks
    early = open_asl_study(asl.write(tmp_path / "early", magnitude(900.0))).series
    assert early.flow_refused == (
        "flow of magnitude images needs inversion times of at least 0.96 s, after which muscle is positive; "
        "found 0.90 s: send phase-corrected real images"
    )
    low = open_asl_study(asl.write(tmp_path / "low", magnitude(900.0, MagneticFieldStrength="15000"))).series
    assert (low.field_t, low.flow_refused) == (1.5, "")  # T1 is shorter there
    strange = open_asl_study(asl.write(tmp_path / "7T", magnitude(900.0, MagneticFieldStrength="7"))).series
    assert strange.flow_refused == "flow of magnitude images needs a field strength of 1.5 or 3 T; found 7 T"


def test_real_images_that_lost_their_zero_give_no_flow(tmp_path: Path) -> None:
    found = open_asl_study(asl.write(tmp_path, asl.run(RescaleIntercept=1000.0))).series
    assert found.flow_refused.startswith("flow needs the zero of real images; no pixel is negative")


def test_the_zero_of_unsigned_pixels_lies_in_the_intercept(tmp_path: Path) -> None:
    images = asl.run(RescaleIntercept=-1000 * asl.SLOPE, PixelRepresentation=0)
    for ds in images:
        ds.PixelData = (np.frombuffer(ds.PixelData, np.int16) + 1000).astype("<u2").tobytes()
    check(open_asl_study(asl.write(tmp_path, images)))


def test_the_flow_of_other_labelling_is_refused(tmp_path: Path) -> None:
    frames = [(kind, pair) for pair in range(3) for kind in ("control", "labelled")]
    samples.write(tmp_path / "x.dcm", asl.enhanced(frames, ArterialSpinLabelingContrast="PSEUDOCONTINUOUS"))
    assert "FAIR" in open_asl_study(tmp_path).series.flow_refused


def test_phase_images_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFileError, match="found phase or imaginary images alone"):
        open_asl_study(asl.write(tmp_path, asl.run(ImageType=["ORIGINAL", "PRIMARY", "P"])))


def test_two_runs_need_a_choice_and_a_choice_needs_its_run(tmp_path: Path) -> None:
    rest = asl.run(SeriesDescription="ASL rest")
    stress = [
        asl.image(k, 3, SeriesDescription="ASL stress", SeriesInstanceUID="1.2.8") for k in ("control", "labelled")
    ]
    assert "must hold one ASL run; found one at stress and one at rest" in refusal(tmp_path / "two", [*rest, *stress])
    assert "must hold an ASL run at stress; found rest" in refusal(tmp_path / "one", rest, RunChoice(run="stress"))


def test_two_series_of_pairs_are_two_runs_and_a_series_a_pair_is_one(tmp_path: Path) -> None:
    again = [
        asl.image(kind, pair, SeriesInstanceUID="1.2.8", SeriesNumber=41)
        for pair in (3, 4)
        for kind in ("control", "labelled")
    ]
    for i, ds in enumerate(again):
        ds.SOPInstanceUID = f"1.2.8.{i}"
    said = refusal(tmp_path / "two", [*asl.run(), *again])
    assert said == (
        "study: must hold one ASL run; found 2 series of pairs: 12, 41. Leave one out by --series 41=other, or send "
        "one run alone."
    )
    check(open_asl_study(tmp_path / "two", RunChoice(roles={"41": Role.OTHER})))
    breath_holds = asl.run()
    for i, ds in enumerate(breath_holds):
        ds.SeriesInstanceUID, ds.SeriesNumber = f"1.2.7.{(i + 1) // 2}", 50 + (i + 1) // 2
    check(open_asl_study(asl.write(tmp_path / "pairs", breath_holds)))


def test_pixels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError):
        open_asl_study(asl.write(tmp_path, asl.run(RescaleSlope="1e39")))


def test_a_cut_file_and_a_header_that_asks_for_the_moon_are_refused_here_and_in_a_child(tmp_path: Path) -> None:
    cut = asl.write(tmp_path / "cut", asl.run())
    path = sorted(cut.iterdir())[2]
    path.write_bytes(path.read_bytes()[:-40])
    huge = asl.write(tmp_path / "huge", asl.run(Rows=65535, Columns=65535))
    assert MOST_PIXELS < 65535**2
    for folder, said in ((cut, "bytes of pixels that its header declares"), (huge, "pixels")):
        with pytest.raises(UnreadableFileError, match=said) as here:
            open_asl_study(folder)
        with pytest.raises(UnreadableFileError) as there:
            open_any_guarded(folder)
        assert str(there.value) == str(here.value)


def test_a_first_pass_reader_says_where_asl_is_read(tmp_path: Path) -> None:
    with pytest.raises(InconsistentStudyError, match="found arterial spin labelling alone. Use `python -m pool asl`."):
        open_study(asl.write(tmp_path, asl.run(6)))


def test_a_localiser_is_left_out(tmp_path: Path) -> None:
    other = asl.image("control", 0, SOPInstanceUID="1.2.9", SeriesInstanceUID="1.2.10", SeriesDescription="localizer")
    other.ImageComments, other.ImagePositionPatient = "x", [0.0, 0.0, 0.0]
    found = open_any_study(asl.write(tmp_path, [*asl.run(), other]))
    assert "left out 1 other images" in found.series.remarks


def test_the_first_image_of_a_pair_is_one_of_two() -> None:
    with pytest.raises(SettingsError, match="first image of a pair: must be control or labelled; found 'baseline'"):
        RunChoice(pair_starts_with="baseline")
