"""Whole studies: consistency of pixels, times, geometry and truth, and the DICOM files made of them."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from pool.errors import OutputError, SettingsError
from pool.phantom.dicom_files import DIALECTS, write_dicom_study, write_truth
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.phantom.study_files import write_studies
from pool.phantom.study_types import PhantomStudy

N_FRAMES = 30


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return make_study(get_preset("exD-2"), 5, N_FRAMES)


def test_a_study_has_three_slices_of_one_heart(study: PhantomStudy) -> None:
    assert study.series.frames.shape == (3, N_FRAMES, 160, 160)
    assert study.series.slice_names == ("base", "mid", "apex")
    assert study.series.pixel_spacing_mm == (1.7, 1.7)
    assert study.series.frames.max() <= 4095
    assert np.array_equal(study.series.frames, study.series.frames.round())
    centres = np.array([np.argwhere(labels == 1).mean(0) for labels in study.labels])
    assert np.abs(np.diff(centres, axis=0)).max() * 1.7 < 20


def test_times_rise_with_the_heart_beat(study: PhantomStudy) -> None:
    times = study.series.times_s
    assert times[0, 0] == 0.0
    assert (np.diff(times, axis=1) > 0).all()
    assert (np.diff(times, axis=0) > 0).all()
    assert np.median(np.diff(times[0])) == pytest.approx(60 / study.scan.heart_rate_bpm, rel=0.1)


def test_slices_are_stacked_along_their_normal(study: PhantomStudy) -> None:
    geometry = study.series.geometry
    assert geometry is not None
    for g in geometry:
        row, column = np.array(g.orientation[:3]), np.array(g.orientation[3:])
        assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)
        assert np.linalg.norm(column) == pytest.approx(1, abs=1e-6)
        assert row @ column == pytest.approx(0, abs=1e-6)
        assert row[0] > 0.3  # image right is the patient's left
        assert column[2] < -0.3  # image down is towards the feet
    steps = np.diff([g.position_mm for g in geometry], axis=0)
    assert np.allclose(steps[0], steps[1], atol=1e-3)
    assert np.abs(np.cross(steps[0], geometry[0].normal)).max() < 1e-2
    assert 16 <= np.linalg.norm(steps[0]) <= 24
    assert steps[0] @ np.array([1, -1, -1]) > 0  # the apex is to the left, in front and below


def test_the_same_seed_gives_the_same_study() -> None:
    first, again = (make_study(get_preset("exD-2"), 9, 12) for _ in range(2))
    assert first.series.content_sha256() == again.series.content_sha256()
    assert np.array_equal(first.mbf_ml_min_g, again.mbf_ml_min_g)
    assert make_study(get_preset("exD-2"), 10, 12).series.content_sha256() != first.series.content_sha256()


def test_a_prebolus_is_the_same_heart_with_a_tenth_of_the_dose(study: PhantomStudy) -> None:
    dual = make_study(get_preset("exD-2"), 5, N_FRAMES, dual_bolus=True)
    assert dual.series.content_sha256() == study.series.content_sha256()
    assert dual.prebolus is not None
    assert np.allclose(dual.prebolus.blood_mm, 0.1 * dual.blood_mm)
    assert np.array_equal(dual.prebolus.labels, dual.labels)
    lv = dual.anatomical_labels == 2
    peaks = [part.series.frames.max(axis=1)[lv].mean() for part in (dual, dual.prebolus)]
    assert 0.1 < peaks[1] / peaks[0] < 0.7  # more than a tenth: the main bolus saturates


def test_insertion_points_lie_where_the_ventricles_meet() -> None:
    made = make_study(get_preset("exD-1"), 41, 12)
    for labels, (anterior, inferior) in zip(made.anatomical_labels[:2], made.insertion_px[:2]):
        rows, cols = np.indices(labels.shape)
        wall = labels == 1
        centre = np.argwhere(wall).mean(0)
        pools, _ = ndimage.label(labels == 2)
        rv = (pools > 0) & (pools != pools[tuple(centre.round().astype(int))])
        for point in (anterior, inferior):
            distance = np.hypot(rows - point[0], cols - point[1])
            assert distance[wall].min() < 2
            assert distance[rv].min() < 4
        assert anterior[0] < inferior[0]  # the front is up


def test_impossible_studies_are_refused() -> None:
    with pytest.raises(SettingsError, match="number of frames: must lie within 8 and 400; found 0"):
        make_study(get_preset("inD"), 1, 0)
    with pytest.raises(SettingsError, match="seed: must not be negative; found -1"):
        make_study(get_preset("inD"), -1)


def test_siemens_files_say_what_the_scanner_says(study: PhantomStudy, tmp_path: Path) -> None:
    import pydicom

    paths = write_dicom_study(study, tmp_path / "dicom", "siemens")
    assert len(paths) == 3 * N_FRAMES
    files = [pydicom.dcmread(p) for p in paths]
    assert len({f.SOPInstanceUID for f in files}) == len(files)
    assert len({f.SeriesInstanceUID for f in files}) == 3
    assert len({f.StudyInstanceUID for f in files}) == 1
    assert len({f.FrameOfReferenceUID for f in files}) == 1
    base = files[:N_FRAMES]
    assert len({f.TriggerTime for f in base}) == 1
    assert all(a.AcquisitionTime < b.AcquisitionTime for a, b in itertools.pairwise(base))
    assert all(a.ContentTime < b.ContentTime for a, b in itertools.pairwise(base))
    assert [f.InstanceNumber for f in base] == list(range(1, N_FRAMES + 1))
    assert "RescaleSlope" not in base[0]
    assert str(base[0].PatientName).startswith("PHANTOM^")
    assert np.array_equal(base[7].pixel_array, study.series.frames[0, 7].astype(np.uint16))
    assert base[0].ImagePositionPatient == pytest.approx(study.series.geometry[0].position_mm, abs=1e-6)  # type: ignore[index]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed")
@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_files_are_valid_dicom(study: PhantomStudy, tmp_path: Path, dialect: str) -> None:
    path = write_dicom_study(study, tmp_path / "dicom", dialect)[0]
    verdict = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
    assert "Error" not in verdict, verdict


def test_ge_files_hide_their_times_in_the_trigger_time(study: PhantomStudy, tmp_path: Path) -> None:
    import pydicom

    files = [pydicom.dcmread(p) for p in write_dicom_study(study, tmp_path / "ge", "ge")]
    assert len({f.AcquisitionTime for f in files}) == 3
    assert {f.AcquisitionNumber for f in files} == {0}
    assert files[0].MagneticFieldStrength == 30000
    assert "TemporalPositionIdentifier" not in files[0]
    assert not Path(str(files[0].filename)).suffix
    trigger = [float(f.TriggerTime) for f in files[:N_FRAMES]]
    assert trigger[0] == 769.0
    assert np.allclose(np.diff(trigger) / 1000, np.diff(study.series.times_s[0]), atol=1e-5)


def test_philips_files_scale_their_pixels(study: PhantomStudy, tmp_path: Path) -> None:
    import pydicom

    files = [pydicom.dcmread(p) for p in write_dicom_study(study, tmp_path / "philips", "philips")]
    assert [f.TemporalPositionIdentifier for f in files[:3]] == [1, 2, 3]
    file = files[N_FRAMES + 4]
    seen = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
    assert np.abs(seen - study.series.frames[1, 4]).max() <= float(file.RescaleSlope) / 2


def test_enhanced_files_hold_a_slice_each(study: PhantomStudy, tmp_path: Path) -> None:
    import pydicom

    files = [pydicom.dcmread(p) for p in write_dicom_study(study, tmp_path / "xa", "siemens-xa")]
    assert len(files) == 3
    assert np.array_equal(files[2].pixel_array, study.series.frames[2].astype(np.uint16))
    content = [f.FrameContentSequence[0] for f in files[2].PerFrameFunctionalGroupsSequence]
    assert [c.TemporalPositionIndex for c in content] == list(range(1, N_FRAMES + 1))
    assert all(a.FrameAcquisitionDateTime < b.FrameAcquisitionDateTime for a, b in itertools.pairwise(content))


def test_files_depend_on_the_seed_alone(study: PhantomStudy, tmp_path: Path) -> None:
    first = write_dicom_study(study, tmp_path / "a")
    again = write_dicom_study(study, tmp_path / "b")
    assert all(p.read_bytes() == q.read_bytes() for p, q in zip(first, again))
    with pytest.raises(OutputError, match="must be new or empty"):
        write_dicom_study(study, tmp_path / "a")
    with pytest.raises(SettingsError, match="DICOM dialect: must be one of siemens"):
        write_dicom_study(study, tmp_path / "c", "canon")


def test_truth_lies_beside_the_files(study: PhantomStudy, tmp_path: Path) -> None:
    with np.load(write_truth(study, tmp_path)) as truth:
        assert np.array_equal(truth["labels"], study.labels)
        assert truth["slice_names"].tolist() == ["base", "mid", "apex"]
        assert np.array_equal(truth["mbf_ml_min_g"], study.mbf_ml_min_g)


def test_many_studies_go_to_a_folder(tmp_path: Path) -> None:
    from pool.array_files import read_array_file

    folders = write_studies(tmp_path / "out", get_preset("exD-2"), 2, 7, n_frames=10, dual_bolus=True)
    assert [f.name for f in folders] == ["study-0001", "study-0002"]
    series = read_array_file(folders[1] / "series.npz")
    assert series.frames.shape[:2] == (3, 10)
    assert (folders[1] / "truth.npz").is_file()
    assert read_array_file(folders[1] / "prebolus.npz").frames.shape == series.frames.shape
    with pytest.raises(SettingsError, match="number of studies: must be at least 1; found 0"):
        write_studies(tmp_path / "none", get_preset("exD-2"), 0, 7)
