import gzip
import zipfile
from collections.abc import Callable
from lzma import LZMAError
from pathlib import Path
from tokenize import TokenError

import nibabel
import numpy as np
import pytest
from scipy.io import savemat

from pool.array_files import read_array_file
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


def npy_bytes(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def npz_of(path: Path, frames: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    """An `.npz` whose `frames` are these bytes."""
    write_npz(path, bolus_series())
    with zipfile.ZipFile(path) as archive:
        others = {name: archive.read(name) for name in archive.namelist() if name != "frames.npy"}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in {"frames.npy": frames, **others}.items():
            archive.writestr(name, data)
    return path


def npz_of_37_gb(path: Path) -> None:
    npz_of(path, npy_bytes(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 90, 10000, 10200)}\n"))


def npz_whose_header_is_no_dictionary(path: Path) -> None:
    npz_of(path, npy_bytes(b"{'descr': ('''<f4', 'fortran_order': False, 'shape': (1, 90, 10, 10)}\n"))


def npz_that_is_shorter_than_it_says(path: Path) -> None:
    npz_of(path, npy_bytes(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 90, 10, 10)}\n") + bytes(99))


def npz_that_is_encrypted(path: Path) -> None:
    write_npz(path, bolus_series())
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := data.find(mark, start) + 1) > 0:
            data[start - 1 + at] |= 1
    path.write_bytes(data)


def npz_in_an_unknown_compression(path: Path) -> None:
    write_npz(path, bolus_series())
    data = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = 0
        while (start := data.find(mark, start) + 1) > 0:
            data[start - 1 + at] = 97
    path.write_bytes(data)


def npz_with_damaged_lzma(path: Path) -> None:
    npz_of(path, npy_bytes(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 9, 10, 10)}\n"), zipfile.ZIP_LZMA)
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)
    path.write_bytes(data)


def npz_with_a_wrong_checksum(path: Path) -> None:
    np.savez(path, frames=bolus_series().frames, times_s=bolus_series().times_s, pixel_spacing_mm=np.ones(2))
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.write_bytes(data)


def huge_nifti(path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((9, 9, 2, 9), np.int16), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    data = bytearray(image.to_bytes())
    data[40:56] = np.array([4, 32767, 32767, 2, 32767, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(data)) if path.suffix == ".gz" else data)


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("s.npz", npz_of_37_gb, "may announce arrays of at most 1 GB; found 36.7 GB of shape (1, 90, 10000, 10200)."),
        ("s.npz", npz_whose_header_is_no_dictionary, "found "),
        ("s.npz", npz_that_is_shorter_than_it_says, "found 176 bytes for an array of 36000."),
        ("s.npz", npz_that_is_encrypted, "found RuntimeError while reading it."),
        ("s.npz", npz_in_an_unknown_compression, "found NotImplementedError while reading it."),
        ("s.npz", npz_with_damaged_lzma, "while reading it."),
        ("s.npz", npz_with_a_wrong_checksum, "found BadZipFile while reading it."),
        ("s.nii", huge_nifti, "may announce arrays of at most 1 GB; found 2.81e+05 GB of shape"),
        ("s.nii.gz", huge_nifti, "may announce arrays of at most 1 GB; found 2.81e+05 GB of shape"),
    ],
)
def test_whatever_the_libraries_raise_is_one_error(
    tmp_path: Path, name: str, harm: Callable[[Path], None], words: str
) -> None:
    harm(tmp_path / name)
    with pytest.raises(UnreadableFileError) as caught:
        open_study(tmp_path / name)
    assert str(caught.value).startswith(f"file {name}: ")
    assert words in str(caught.value)
    assert "MATLAB" not in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("failure", [MemoryError, RecursionError, RuntimeError, LZMAError, TokenError, AssertionError])
def test_no_error_of_a_library_comes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: type[Exception]
) -> None:
    def fail(*args: object) -> None:
        raise failure("Secret^Name")

    monkeypatch.setattr("pool.array_files.read_npz_arrays", fail)
    with pytest.raises(UnreadableFileError) as caught:
        read_array_file(write_npz(tmp_path / "s.npz", bolus_series()))
    assert str(caught.value) == (
        f"file s.npz: must be a whole, readable .npz file; found {failure.__name__} while reading it. "
        "Was it cut, changed or encrypted? Save it again."
    )


@pytest.mark.parametrize("name", ["s.npz", "s.mat", "s.nii"])
def test_files_without_permission_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The tests may run as root, whom no permission stops: the refusal of the system is played."""
    (tmp_path / name).write_bytes(b"x" * 500)

    def refuse(path: object, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    for opener in ("io.open", "builtins.open", "zipfile.ZipFile", "nibabel.load"):
        monkeypatch.setattr(opener, refuse)
    with pytest.raises(UnreadableFileError) as caught:
        open_study(tmp_path / name)
    assert str(caught.value) == (
        f"file {name}: must be readable; found permission denied. Allow reading it, or copy it elsewhere."
    )


def test_every_refusal_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty.npz").touch()
    with pytest.raises(EmptyStudyError, match="found 0 bytes. Was the copy cut?"):
        open_study(tmp_path / "empty.npz")
    savemat(tmp_path / "other.mat", {"image": np.ones((3, 3, 9))})
    with pytest.raises(UnsupportedFileError, match="needs the variable final_img .*Save the prepared slice under"):
        open_study(tmp_path / "other.mat")
    for image in (np.ones((3, 3)), np.ones((3, 3, 9), complex)):
        np.savez(tmp_path / "s.npz", final_img=image)
        with pytest.raises(
            InconsistentStudyError, match="final_img must be real numbers .*Save it as a plain 3D array"
        ):
            open_study(tmp_path / "s.npz")


def test_three_slices_without_positions_are_remarked_on(tmp_path: Path) -> None:
    remark = "an .npz holds no positions: its three slices are taken as base, mid, apex in file order"
    assert open_study(write_npz(tmp_path / "3.npz", bolus_series(3))).series.remarks == (remark,)
    assert open_study(write_npz(tmp_path / "2.npz", bolus_series(2))).series.remarks == ()


def nifti_of(path: Path, along_row_ras: tuple[float, float, float], n_slices: int = 3) -> Path:
    """Rows run to the feet, columns along `along_row_ras`, slices 8 mm apart along the normal of both; 2 mm pixels."""
    row, col = np.array(along_row_ras), np.array([0.0, 0.0, -1.0])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([2 * row, 2 * col, 8 * np.cross(row, col)], axis=1)
    image = nibabel.Nifti1Image(np.ones((9, 9, n_slices, 9), np.float32), affine)
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def test_nifti_of_an_unusual_orientation_is_read_with_the_remark_that_dicom_gives(tmp_path: Path) -> None:
    """Normals worked out on paper: along LPS (1, 1, 0), a right angle to the heart's axis; (0, 1, 0), 53 degrees."""
    h = 0.5**0.5
    remark = "the slices' normal does not point from base to apex as usual: check the order of the slices"
    assert remark in open_study(nifti_of(tmp_path / "a.nii", (-h, h, 0))).series.remarks
    assert remark not in open_study(nifti_of(tmp_path / "b.nii", (-1, 0, 0))).series.remarks
    assert remark not in open_study(nifti_of(tmp_path / "c.nii", (-h, h, 0), n_slices=1)).series.remarks


def test_nifti_without_extent_in_space_is_refused(tmp_path: Path) -> None:
    for value in (np.nan, 0.0):
        path = nifti_of(tmp_path / "s.nii", (-1, 0, 0))
        data = bytearray(path.read_bytes())
        data[280:328] = np.full(12, value, "<f4").tobytes()  # srow_x, srow_y, srow_z
        path.write_bytes(data)
        with pytest.raises(InconsistentStudyError, match="must be finite and have a positive pixel spacing"):
            open_study(path)
