from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.io import savemat

from pool.errors import (
    EmptyStudyError,
    InconsistentStudyError,
    NonFiniteError,
    StudyError,
    UnreadableFileError,
    UnsupportedFileError,
)
from pool.inputs import open_study
from tests.samples import bolus_frames, bolus_series, write_npz


def test_npz_round_trip(tmp_path: Path) -> None:
    series = bolus_series(3)
    found = open_study(write_npz(tmp_path / "study.npz", series))
    assert found.dicom is None
    assert found.series.content_sha256() == series.content_sha256()
    assert found.series.slice_names == ("base", "mid", "apex")


def test_mat_holds_one_prepared_slice(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((128, 128, 30))
    savemat(tmp_path / "s.mat", {"final_img": image})
    series = open_study(tmp_path / "s.mat").series
    assert series.prepared
    assert series.pixel_spacing_mm is None
    assert np.array_equal(series.frames[0, 7], image[:, :, 7].astype(np.float32))


@pytest.mark.parametrize("mirrored", [False, True])
def test_nifti_is_shown_as_usual_and_maps_return_to_its_grid(tmp_path: Path, mirrored: bool) -> None:
    """Columns to the left, rows to the feet, 2 mm and 3 mm; mirrored: columns to the right, rows to the head."""
    frames = np.stack([bolus_frames((40, 50), (20.0, 25.0), 3.0, n_frames=12, seed=i) for i in range(2)])
    voxels = np.transpose(frames, (3, 2, 0, 1))  # x y slice time
    affine = np.diag([-2.0, 1.0, -3.0, 1.0])[:, [0, 2, 1, 3]]  # RAS; x: left, y: feet, slices: forward
    affine[:3, 3] = (5, 6, 7)
    if mirrored:
        voxels = voxels[::-1, ::-1]
        affine = affine @ np.array([[-1, 0, 0, 49], [0, -1, 0, 39], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm", "msec")
    image.header["pixdim"][4] = 800
    nibabel.save(image, tmp_path / "s.nii.gz")
    series = open_study(tmp_path / "s.nii.gz").series
    assert series.flipped == (mirrored, mirrored)
    assert np.array_equal(series.frames, frames)
    assert series.pixel_spacing_mm == pytest.approx((3.0, 2.0))
    assert series.times_s[1] == pytest.approx(np.arange(12) * 0.8)
    assert series.geometry is not None
    assert series.geometry[0].position_mm == pytest.approx((-5, -6, 7))  # LPS of the first shown pixel
    assert series.geometry[0].orientation == pytest.approx((1, 0, 0, 0, 0, -1))
    assert np.array_equal(series.to_input_grid(series.frames[:, 0]), np.transpose(voxels, (2, 3, 1, 0))[:, 0])


def bad_npz(tmp_path: Path, **changes: object) -> Path:
    series = bolus_series()
    fields = {"frames": series.frames, "times_s": series.times_s, "pixel_spacing_mm": np.array([1.9, 1.9])}
    path = tmp_path / "bad.npz"
    np.savez(path, **{key: value for key, value in {**fields, **changes}.items() if value is not None})
    return path


def nan_frames() -> np.ndarray:
    frames = bolus_series().frames.copy()
    frames[0, 0, 0, 0] = np.nan
    return frames


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"frames": nan_frames()}, NonFiniteError, "every pixel must be a finite number"),
        ({"times_s": None}, UnsupportedFileError, r"needs frames, times_s and pixel_spacing_mm .*; found no times_s"),
        ({"pixel_spacing_mm": np.ones(3)}, InconsistentStudyError, "pixel_spacing_mm must be"),
        ({"frames": np.ones((5, 5), np.float32)}, InconsistentStudyError, "frames must be slice time row col"),
        ({"frames": np.array([["a"]])}, InconsistentStudyError, "must be real numbers"),
        ({"times_s": np.zeros((1, 40))}, InconsistentStudyError, "frame times must be finite and strictly rising"),
        ({"times_s": np.arange(39.0)}, InconsistentStudyError, "needs one time a frame"),
    ],
)
def test_bad_npz_is_refused_in_words(
    tmp_path: Path, changes: dict[str, object], error: type[StudyError], message: str
) -> None:
    with pytest.raises(error, match=message):
        open_study(bad_npz(tmp_path, **changes))


@pytest.mark.parametrize("name", ["s.mat", "s.npz", "s.nii", "s.nii.gz", "s.zip", "s.dcm"])
@pytest.mark.parametrize("content", [b"not what it says", b"PK\x03\x04 cut", b"\x1f\x8b cut", bytes(400)])
def test_broken_files_of_every_kind_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(StudyError, match=rf"{name}|study"):
        open_study(path)


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".nii.gz"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"s{suffix}"
    if suffix == ".npz":
        write_npz(path, bolus_series())
    elif suffix == ".mat":
        savemat(path, {"final_img": np.random.default_rng(0).random((128, 128, 30))}, do_compression=True)
    else:
        image = nibabel.Nifti1Image(np.random.default_rng(0).random((9, 9, 2, 9)), np.eye(4))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableFileError, match=rf"file s{suffix}: must be a whole, readable"):
        open_study(path)


def test_nothing_and_too_much_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyStudyError, match="needs at least one file"):
        open_study([])
    with pytest.raises(EmptyStudyError, match="must exist; found no such file"):
        open_study(tmp_path / "nowhere")
    (tmp_path / "empty.npz").touch()
    with pytest.raises(EmptyStudyError, match="file empty.npz: must not be empty"):
        open_study(tmp_path / "empty.npz")
    one, two = (write_npz(tmp_path / f"{i}.npz", bolus_series()) for i in range(2))
    with pytest.raises(UnsupportedFileError, match="is one .mat, .npz or NIfTI file, or DICOM files; found 2 files"):
        open_study([one, two])


def test_a_pickle_inside_an_npz_is_never_loaded(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError):
        open_study(bad_npz(tmp_path, frames=np.array([{"a": 1}], dtype=object)))


def test_nifti_without_orientation_or_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.nii"
    image = nibabel.Nifti1Image(np.ones((9, 9, 2, 9), np.float32), np.eye(4))
    nibabel.save(image, path)
    with pytest.raises(InconsistentStudyError, match="needs the time from frame to frame"):
        open_study(path)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(np.eye(4), 0)
    image.set_qform(np.eye(4), 0)
    nibabel.save(image, path)
    with pytest.raises(UnsupportedFileError, match="needs a qform or sform; found neither"):
        open_study(path)
    nibabel.save(nibabel.Nifti1Image(np.ones((9, 9, 9), np.float32), np.eye(4)), path)
    with pytest.raises(InconsistentStudyError, match=r"must be 4D: x y slice time; found shape \(9, 9, 9\)"):
        open_study(path)
