"""What every series of an upload is taken for, and how a user says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from pool.__main__ import main
from pool.dicom.read import DicomStudy, read_dicom_study, read_study_content
from pool.errors import InconsistentStudyError, SettingsError, TooFewFramesError
from pool.guarded import study_content_guarded
from pool.run_choice import Role, RunChoice
from tests.pool.dicom import dicom_samples as samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def run(folder: Path, number: int, hour: int, description: str, n_slices: int = 3, **changes: Any) -> list[Path]:
    """A dynamic series at some hour of the day."""

    def times(ds: Dataset, s: int, t: int) -> None:
        ds.AcquisitionTime = samples.clock(hour * 3600 + 0.8 * t + 0.2 * s)
        ds.ContentTime = ds.AcquisitionTime

    tags = {"SeriesNumber": number, "series_uid": f"1.2.{number}", "SeriesDescription": description, **changes}
    return samples.write_study(folder / str(number), times, n_slices=n_slices, **tags)


def numbers(study: DicomStudy) -> set[str]:
    return {source.series_uid.removeprefix("1.2.") for sources in study.sources for source in sources}


def roles(study: DicomStudy) -> dict[str, str]:
    return {item.number: f"{item.role}: {item.reason}" for item in study.sorting}


def state(code: str, scheme: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, scheme, meaning
    return [item]


def test_stress_and_rest_by_name_and_the_choice_between_them(tmp_path: Path) -> None:
    files = run(tmp_path, 12, 10, "perf_STRESS_sa") + run(tmp_path, 20, 11, "perfusionRest")
    with pytest.raises(InconsistentStudyError, match=r"rest, 3 slices of 10 frames \(series 20\)"):
        read_dicom_study(files)
    for which, number in (("stress", "12"), ("rest", "20")):
        study = read_dicom_study(files, RunChoice(run=which))
        assert (study.role, numbers(study)) == (which, {number})
        assert f"{which} run: guessed from its names, which say {which}" in study.series.remarks
    assert "left out 30 frames of series 12: stress, guessed from its names, which say stress" in study.series.remarks


def test_a_code_goes_before_names_and_the_user_before_both(tmp_path: Path) -> None:
    rest = state("128975004", "SCT", "Resting State")
    files = run(tmp_path, 12, 10, "stress", PatientPhysiologicalStateCodeSequence=rest)
    study = read_dicom_study(files)
    assert roles(study) == {"12": "rest: PatientPhysiologicalStateCodeSequence says rest"}
    study = read_dicom_study(files, RunChoice(roles={"12": Role.STRESS}))
    assert (study.role, roles(study)) == (Role.STRESS, {"12": "stress: as the user said"})


def test_the_state_of_enhanced_files_lies_in_their_functional_groups(tmp_path: Path) -> None:
    ds = samples.enhanced()
    physiological = Dataset()
    physiological.PatientPhysiologicalStateCodeSequence = state("109091", "DCM", "Cardiac Stress State")
    ds.SharedFunctionalGroupsSequence[0].PatientPhysiologicalStateSequence = [physiological]
    assert read_dicom_study([samples.write(tmp_path / "e", ds)]).role is Role.STRESS


@pytest.mark.parametrize(
    ("description", "role"),
    [
        ("Adenosine perfusion", "stress"),
        ("REGADENOSON_SA", "stress"),
        ("dynamic 3SL Rest2", "rest"),
        ("stress/rest perfusion", "perfusion"),
        ("arrested restoration", "perfusion"),
        ("perfusion 3 slices", "perfusion"),
    ],
)
def test_names_are_read_word_by_word(tmp_path: Path, description: str, role: str) -> None:
    assert read_dicom_study(run(tmp_path, 5, 10, description, n_slices=1)).role == role


def test_the_aif_is_known_by_name_or_by_its_coarse_pixels(tmp_path: Path) -> None:
    files = run(tmp_path, 12, 10, "stress") + run(tmp_path, 13, 10, "stress_AIF", n_slices=1)
    for number, echo in ((14, 1.0), (15, 2.0)):
        files += run(tmp_path, number, 10, "stress dual", n_slices=1, PixelSpacing=[5.0, 4.0], EchoTime=echo)
    study = read_dicom_study(files)
    assert numbers(study) == {"12"}
    assert roles(study)["13"] == "aif: its name says AIF"
    assert roles(study)["14"] == roles(study)["15"] == "aif: of low resolution, taken together with series 12"


@pytest.mark.parametrize("by", ["name", "image type"])
def test_a_motion_corrected_twin_is_taken_unless_the_user_wants_the_original(tmp_path: Path, by: str) -> None:
    files = run(tmp_path, 12, 10, "stress")
    tags = {"ImageType": ["DERIVED", "PRIMARY", "M", "MOCO"]} if by == "image type" else {}
    files += run(tmp_path, 13, 10, "perf_MoCo" if by == "name" else "perf", **tags)
    study = read_dicom_study(files)
    assert (numbers(study), study.role) == ({"13"}, Role.STRESS)
    assert roles(study)["13"] == "stress: twin of series 12, guessed from its names, which say stress"
    left = (
        "left out 30 frames of series 12: stress, guessed from its names, which say stress; the original of series 13"
    )
    assert f"{left}, which was taken" in study.series.remarks
    assert numbers(read_dicom_study(files, RunChoice(original=True))) == {"12"}


def test_corrected_images_of_another_run_are_no_twin(tmp_path: Path) -> None:
    files = run(tmp_path, 12, 10, "stress") + run(tmp_path, 20, 11, "rest_moco")
    assert numbers(read_dicom_study(files, RunChoice(run="stress"))) == {"12"}
    assert numbers(read_dicom_study(files, RunChoice(run="rest"))) == {"20"}


def test_all_of_an_examination(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = run(tmp_path, 12, 10, "stress") + run(tmp_path, 20, 11, "rest")
    for i, orientation in enumerate(([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [1, 0, 0, 0, 0, -1])):
        tags = {"SeriesNumber": 1, "series_uid": "1.2.1", "ImageOrientationPatient": orientation, "InstanceNumber": i}
        files.append(samples.write(tmp_path / f"{i}", samples.classic(5, i, **tags)))
    named = {"SeriesNumber": 2, "series_uid": "1.2.2", "SeriesDescription": "localizer", "FrameOfReferenceUID": "1.9"}
    files.append(samples.write(tmp_path / "l", samples.classic(6, 0, **named)))
    for t in range(2):
        tags = {"SeriesNumber": 11, "series_uid": "1.2.11", "FlipAngle": 5}
        files.append(samples.write(tmp_path / f"pd{t}", samples.classic(1, t, **tags)))
    content = read_study_content(files)
    assert {item.number: item.reason for item in content.series if item.role is Role.LOCALISER} == {
        "1": "few images in several orientations",
        "2": "its name or image type says localiser",
    }
    (density,) = [item for item in content.series if item.role is Role.PROTON_DENSITY]
    assert density.reason == "few frames on slices of the run, taken with another preparation"
    assert [run.series_uids for run in content.runs] == [("1.2.12",), ("1.2.20",)]
    assert [read_dicom_study(files, choice).role for choice in content.runs] == [Role.STRESS, Role.REST]
    assert study_content_guarded(tmp_path) == content
    assert main(["series", str(tmp_path), "--series", "11=other"]) == 0
    said = capsys.readouterr().out
    assert "series    20     3 x 10  rest: guessed from its names, which say rest\n" in said
    assert "series    11      1 x 2  other: as the user said\n" in said
    assert "run 2: series 20\n" in said


def bright_frames(folder: Path, n: int, factor: int, **of_leading: Any) -> list[Path]:
    """A run whose first `n` frames of every slice are `factor` times as bright, and have tags of their own."""
    files = []
    for s in range(3):
        for t in range(samples.N_FRAMES + n):
            image = 100 + samples.pixels(0, 0) % 7
            image = image * factor if t < n else image + (t == n + 5) * 60
            tags = of_leading if t < n else {"FlipAngle": 12}
            data = {"PixelData": image.astype("<i2").tobytes(), "RescaleSlope": 1, "RescaleIntercept": 0}
            files.append(samples.write(folder / f"{s}-{t}", samples.classic(s, t, **{**data, **tags})))
    return files


@pytest.mark.parametrize(
    ("n", "factor", "tags", "why"),
    [
        (2, 1, {"FlipAngle": 5}, "taken with another preparation than the others"),
        (3, 4, {"FlipAngle": 12}, "brighter than all that follow"),
    ],
)
def test_proton_density_frames_that_lead_are_left_out(
    tmp_path: Path, n: int, factor: int, tags: dict[str, Any], why: str
) -> None:
    files = bright_frames(tmp_path, n, factor, **tags)
    study = read_dicom_study(files)
    assert study.series.n_frames == samples.N_FRAMES
    assert f"left out {n} proton-density frames that lead every slice: {why}" in study.series.remarks
    np.testing.assert_allclose(study.series.times_s[:, 0], [0.0, 0.2, 0.4], atol=1e-9)
    assert study.sources[1][0].sop_instance_uid == f"{samples.SERIES_UID}.2.{n + 1}"
    assert read_dicom_study(files, RunChoice(n_proton_density=0)).series.n_frames == samples.N_FRAMES + n
    assert read_dicom_study(files, RunChoice(n_proton_density=1)).series.n_frames == samples.N_FRAMES + n - 1
    with pytest.raises(TooFewFramesError, match="behind the proton-density frames; found 6"):
        read_dicom_study(files, RunChoice(n_proton_density=samples.N_FRAMES + n - 6))


def test_a_bolus_is_no_proton_density(tmp_path: Path) -> None:
    """A cavity of a tenth of the body that darkens by a factor of ten from one frame to the next."""
    files = samples.write_study(tmp_path)
    for i, file in enumerate(files):
        image = np.full((samples.ROWS, samples.COLS), 100, dtype="<i2")
        image[:2, :8] = 1000 if i // 3 < 3 else 100
        samples.write(file, samples.classic(i % 3, i // 3, PixelData=image.tobytes()))
    assert read_dicom_study(files).series.n_frames == samples.N_FRAMES


@pytest.mark.parametrize("text", ["12", "x=stress", "12=cine", "12=stress,12=rest"])
def test_roles_in_words_that_make_no_sense(text: str) -> None:
    with pytest.raises(SettingsError, match="series: must be number=role pairs, each once, of stress, rest, perf"):
        RunChoice.parse_roles(text)


def test_choices_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="run: must be stress or rest; found 'both'"):
        RunChoice(run="both")
    with pytest.raises(SettingsError, match="proton-density frames: must be from 0 to 10; found 11"):
        RunChoice(n_proton_density=11)
    files = run(tmp_path, 12, 10, "perfusion")
    with pytest.raises(InconsistentStudyError, match=r"must hold a run at rest; found 3 slices .*--series 12=rest\."):
        read_dicom_study(files, RunChoice(run="rest"))
    with pytest.raises(InconsistentStudyError, match="none but what the user called something else"):
        read_dicom_study(files, RunChoice(roles={"12": Role.AIF}))
    with pytest.raises(InconsistentStudyError, match="must hold the chosen series; found none of them"):
        read_dicom_study(files, RunChoice(series_uids=("1.5",)))
