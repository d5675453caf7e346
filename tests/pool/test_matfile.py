"""The own MATLAB reader against scipy's, which is only ever given whole files here."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from pool.errors import InconsistentStudyError, PoolError, UnreadableFileError, UnsupportedFileError
from pool.matfile import read_mat_array

REAL_SLICES = Path(__file__).parents[3] / "shared" / "data" / "daugs_real" / "images"
HEADER = b"MATLAB 5.0 MAT-file".ljust(124)
N_VARIANTS = 300


def element(kind: int, data: bytes, order: str) -> bytes:
    return struct.pack(f"{order}2I", kind, len(data)) + data + bytes(-len(data) % 8)


def by_hand(order: str, shape: tuple[int, ...], stored: int, numbers: bytes, array_class: int = 6) -> bytes:
    """A file as the format's description says, made without scipy."""
    content = element(6, struct.pack(f"{order}2I", array_class, 0), order)
    content += element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    content += element(1, b"final_img", order) + element(stored, numbers, order)
    mark = struct.pack(f"{order}H", 0x0100) + {"<": b"IM", ">": b"MI"}[order]
    return HEADER + mark + element(14, content, order)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_double_stored_as_bytes_in_either_byte_order(tmp_path: Path, order: str) -> None:
    """MATLAB writes doubles that are small integers as uint8, columns first."""
    path = tmp_path / "s.mat"
    path.write_bytes(by_hand(order, (2, 3, 2), 2, bytes(range(12))))
    found = read_mat_array(path, "final_img")
    assert found is not None
    assert found.dtype == np.float64
    assert found[:, :, 0].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert found[1, 2, 1] == 11
    path.write_bytes(by_hand(order, (1, 1, 2), 4, struct.pack(f"{order}2H", 258, 65535)))
    assert read_mat_array(path, "final_img").ravel().tolist() == [258, 65535]  # type: ignore[union-attr]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">f4", ">i2"])
def test_equals_scipy(tmp_path: Path, dtype: str, compressed: bool) -> None:
    rng = np.random.default_rng(3)
    image = (rng.random((7, 5, 30)) * 100).astype(dtype)
    others = {"a": "text", "b": {"c": np.arange(4)}, "d": np.array([1, "x"], dtype=object), "final_im": rng.random(9)}
    savemat(tmp_path / "s.mat", {**others, "final_img": image, "z": np.ones(3)}, do_compression=compressed)
    found = read_mat_array(tmp_path / "s.mat", "final_img")
    assert found is not None
    assert np.array_equal(found, loadmat(tmp_path / "s.mat")["final_img"])
    assert np.array_equal(found, image)
    assert read_mat_array(tmp_path / "s.mat", "nothing") is None


def test_equals_scipy_on_published_slices() -> None:
    if not REAL_SLICES.is_dir():
        pytest.skip("the published DAUGS slices are not here")
    paths = sorted(REAL_SLICES.glob("*.mat"))
    assert paths
    for path in paths:
        found = read_mat_array(path, "final_img")
        assert found is not None
        assert found.shape == (128, 128, 30)
        assert np.array_equal(found, loadmat(path)["final_img"])


@pytest.mark.parametrize("compressed", [False, True])
def test_changed_bytes_are_read_or_refused(tmp_path: Path, compressed: bool) -> None:
    """Half of the changes hit tags, flags and dimensions, where a reader can lose its way."""
    path, rng = tmp_path / "s.mat", np.random.default_rng(7)
    savemat(path, {"x": np.arange(3.0), "final_img": rng.random((6, 5, 8)).astype("f4")}, do_compression=compressed)
    whole, refusals = path.read_bytes(), []
    for i in range(N_VARIANTS):
        data = bytearray(whole)
        for _ in range(1 + i % 3):
            data[int(rng.integers(124, 400 if i % 2 else len(data)))] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            read_mat_array(path, "final_img")
        except PoolError as error:
            refusals.append(error)
    assert 0 < len(refusals) < N_VARIANTS
    assert all(str(error).startswith("file s.mat: ") and error.remedy for error in refusals)


def test_the_byte_that_ends_scipys_process(tmp_path: Path) -> None:
    path = tmp_path / "s.mat"
    savemat(path, {"final_img": np.random.default_rng(0).random((128, 128, 30)).astype("f4")})
    data = bytearray(path.read_bytes())
    assert data[200] == 7  # the element type of the numbers: single
    data[200] = 0xAC
    path.write_bytes(data)
    with pytest.raises(
        UnreadableFileError, match=r"s\.mat: must be a whole, readable .mat file; found numbers of type"
    ):
        read_mat_array(path, "final_img")


@pytest.mark.parametrize("compressed", [False, True])
def test_every_cut_is_refused_or_leaves_nothing(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "s.mat"
    savemat(path, {"final_img": np.random.default_rng(0).random((3, 3, 4))}, do_compression=compressed)
    whole = path.read_bytes()
    for n_bytes in range(len(whole)):
        path.write_bytes(whole[:n_bytes])
        if n_bytes == 128:
            assert read_mat_array(path, "final_img") is None
            continue
        with pytest.raises(UnreadableFileError, match="Was it cut or changed"):
            read_mat_array(path, "final_img")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.ones((2, 2, 8)) * 1j, "complex numbers"),
        (np.ones((2, 2, 8), bool), "logical values"),
        (np.ones((2, 8)), "shape (2, 8)"),
        (np.ones((2, 2, 2, 8)), "shape (2, 2, 2, 8)"),
        ("words", "a char array"),
        ({"a": 1}, "a struct array"),
        (np.array([1, "a"], dtype=object), "a cell array"),
    ],
)
def test_other_arrays_are_refused_in_words(tmp_path: Path, value: object, found: str) -> None:
    savemat(tmp_path / "s.mat", {"final_img": value})
    with pytest.raises(InconsistentStudyError) as caught:
        read_mat_array(tmp_path / "s.mat", "final_img")
    assert str(caught.value) == (
        f"file s.mat: final_img must be real numbers of shape row col time; found {found}. Save it as a plain 3D array."
    )


def test_other_versions_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "s.mat"
    savemat(path, {"final_img": np.ones((5, 4))}, format="4")
    with pytest.raises(UnsupportedFileError, match="found version 4. Save it with -v7."):
        read_mat_array(path, "final_img")
    for hdf5 in (b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n".ljust(600)):
        path.write_bytes(hdf5)
        with pytest.raises(UnsupportedFileError, match="up to version 7; found version 7.3. Save it with -v7."):
            read_mat_array(path, "final_img")


def test_more_than_a_study_has_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """Few bytes that announce 2.4 GB of doubles, and negative lengths whose product is right."""
    path = tmp_path / "s.mat"
    path.write_bytes(by_hand("<", (10_000, 10_000, 3), 2, b""))
    with pytest.raises(UnreadableFileError, match="may announce arrays of at most 1 GB; found 2.4 GB of shape"):
        read_mat_array(path, "final_img")
    path.write_bytes(by_hand("<", (-1, 5, -8), 2, bytes(40)))
    with pytest.raises(UnreadableFileError, match="may announce"):
        read_mat_array(path, "final_img")


def test_compressed_data_that_goes_on_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "s.mat"
    whole = by_hand("<", (2, 2, 8), 2, bytes(32))
    squeeze = zlib.compressobj()
    packed = squeeze.compress(whole[128:]) + squeeze.compress(bytes(2**24)) + squeeze.flush()
    path.write_bytes(whole[:128] + struct.pack("<2I", 15, len(packed)) + packed)
    with pytest.raises(UnreadableFileError, match="compressed data of another length than it says"):
        read_mat_array(path, "final_img")
