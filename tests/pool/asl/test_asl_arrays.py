"""ASL studies from an `.npz` that nobody vouches for: read, or refused in a sentence."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pool.asl.inputs import AslInput, open_any_study, open_asl_study
from pool.asl.series import MOST_PAIRS, MOST_PX, AslSeries
from pool.errors import InconsistentStudyError, NonFiniteError, PoolError, UnreadableFileError
from pool.inputs import StudyInput
from tests.pool.asl.test_asl_inputs import write_asl_npz
from tests.samples import bolus_series, write_npz

N_MUTATIONS = 200


def refusal(path: Path, kind: type[PoolError] = InconsistentStudyError) -> str:
    with pytest.raises(kind) as caught:
        open_any_study(path)
    return str(caught.value)


def of_shape(n_pairs: int, n_rows: int, n_cols: int) -> AslSeries:
    images = np.zeros((n_pairs, n_rows, n_cols), np.float32)
    return AslSeries(images, images, (2.0, 2.0))


def test_a_mosaic_and_more_pairs_than_any_study_has_are_refused() -> None:
    assert of_shape(1, MOST_PX, MOST_PX).control.shape == (1, MOST_PX, MOST_PX)
    assert len(of_shape(MOST_PAIRS, 1, 1).control) == MOST_PAIRS
    for n_rows, n_cols in ((MOST_PX + 1, 2), (2, MOST_PX + 1)):
        with pytest.raises(InconsistentStudyError) as caught:
            of_shape(1, n_rows, n_cols)
        assert str(caught.value) == (
            f"ASL study: may have at most 512 rows and columns; found {n_rows} x {n_cols}. "
            "Send one slice, not a mosaic."
        )
    with pytest.raises(InconsistentStudyError, match="may have at most 1000 pairs; found 1001. Send one run."):
        of_shape(MOST_PAIRS + 1, 1, 1)


@pytest.mark.parametrize("ti_s", [0.0, -0.9, 0.049, 10.1, 900.0])
def test_inversion_times_that_cannot_be_meant_are_refused(tmp_path: Path, ti_s: float) -> None:
    times = np.array([[0.9, 0.9], [0.9, ti_s]])
    low, high = sorted((0.9, ti_s))
    assert refusal(write_asl_npz(tmp_path / "a.npz", ti_s=times)) == (
        f"ASL study: needs inversion times between 0.05 and 10 s; found {low:g} to {high:g}. Are they in milliseconds?"
    )


@pytest.mark.parametrize("name", ["control", "labelled", "baseline", "ti_s", "pixel_spacing_mm"])
@pytest.mark.parametrize("dtype", ["complex64", "bool", "U8", "datetime64[s]"])
def test_anything_but_real_numbers_is_refused(tmp_path: Path, name: str, dtype: str) -> None:
    with np.load(write_asl_npz(tmp_path / "a.npz")) as arrays:
        strange = np.zeros(arrays[name].shape, dtype)
    said = refusal(write_asl_npz(tmp_path / "b.npz", **{name: strange}))
    assert said.startswith(
        "file b.npz: control, labelled, baseline, ti_s and pixel_spacing_mm must be real numbers; found "
    )
    assert str(strange.dtype) in said
    assert said.endswith("Save signed images as float32.")


def test_numbers_that_do_not_fit_are_not_finite(tmp_path: Path) -> None:
    huge = write_asl_npz(tmp_path / "a.npz", control=np.full((2, 8, 8), 1e300))
    assert "every pixel and time must be a finite number" in refusal(huge, NonFiniteError)


def test_a_long_spacing_is_counted_and_not_printed(tmp_path: Path) -> None:
    said = refusal(write_asl_npz(tmp_path / "a.npz", pixel_spacing_mm=np.ones(1000)))
    assert said == "ASL study: needs two pixel spacings; found 1000 numbers."
    images = np.zeros((1, 2, 2), np.float32)
    with pytest.raises(InconsistentStudyError, match="rows and columns; found 3 numbers"):
        AslSeries(images, images, (2.0, 2.0, 2.0))  # type: ignore[arg-type]


def compressed(path: Path, method: int) -> None:
    """The study packed another way, its data then overwritten."""
    with zipfile.ZipFile(write_asl_npz(path)) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in held.items():
            archive.writestr(name, data)
    content = bytearray(path.read_bytes())
    at = content.index(b"control.npy") + len(b"control.npy") + 12
    content[at : at + 40] = b"\xff" * 40
    path.write_bytes(content)


def encrypted(path: Path) -> None:
    """Every entry flagged as encrypted."""
    content = bytearray(write_asl_npz(path).read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(mark, at + 4)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (encrypted, "RuntimeError"),
        (lambda path: compressed(path, zipfile.ZIP_DEFLATED), "error"),
        (lambda path: compressed(path, zipfile.ZIP_LZMA), "LZMAError"),
        (lambda path: compressed(path, zipfile.ZIP_BZIP2), "OSError"),
    ],
)
def test_damaged_and_encrypted_files_are_one_error(tmp_path: Path, harm: Callable[[Path], None], what: str) -> None:
    harm(tmp_path / "a.npz")
    assert refusal(tmp_path / "a.npz", UnreadableFileError) == (
        f"file a.npz: must be a whole, readable .npz file; found {what} while reading it. "
        "Was it cut, changed or encrypted? Save it again."
    )


def test_an_npz_in_capitals_is_one(tmp_path: Path) -> None:
    path = write_asl_npz(tmp_path / "a.npz").rename(tmp_path / "A.NPZ")
    assert isinstance(open_any_study(path), AslInput)
    assert open_asl_study(path).series.control.shape == (2, 8, 8)
    first_pass = write_npz(tmp_path / "p.npz", bolus_series()).rename(tmp_path / "P.NPZ")
    assert isinstance(open_any_study(first_pass), StudyInput)


def test_a_file_with_a_first_pass_and_asl_is_refused(tmp_path: Path) -> None:
    both = write_asl_npz(tmp_path / "a.npz", frames=np.zeros((1, 30, 8, 8)), times_s=np.arange(30.0))
    for reader in (open_any_study, open_asl_study):
        with pytest.raises(InconsistentStudyError) as caught:
            reader(both)
        assert str(caught.value) == (
            "file a.npz: must hold a first pass or an ASL study; found frames and control. Save them as two files."
        )


def test_the_hash_covers_all_that_numbers_depend_on(tmp_path: Path) -> None:
    series = AslSeries.load(write_asl_npz(tmp_path / "a.npz"))
    others = (
        replace(series, field_t=1.5),
        replace(series, flow_refused="it has no sign"),
        replace(series, baseline=None),
        replace(series, pixel_spacing_mm=(2.5, 2.0)),
    )
    assert len({one.content_sha256() for one in (series, *others)}) == 5
    assert replace(series, remarks=("read so",)).content_sha256() == series.content_sha256()


def test_whatever_bytes_are_changed_a_file_is_read_or_refused(tmp_path: Path) -> None:
    originals = []
    for save in (np.savez, np.savez_compressed):
        with np.load(write_asl_npz(tmp_path / "a.npz")) as arrays:
            save(tmp_path / "b.npz", **arrays)
        originals.append((tmp_path / "b.npz").read_bytes())
    path, n_read = tmp_path / "c.npz", 0
    for number in range(N_MUTATIONS):
        draws = np.random.default_rng([7, number])
        content = bytearray(originals[number % 2])
        for at in draws.integers(len(content), size=draws.integers(1, 9)):
            content[at] = draws.integers(256)
        if number % 10 == 0:
            del content[draws.integers(len(content)) :]
        path.write_bytes(content)
        for reader in (open_any_study, open_asl_study):
            with suppress(PoolError):
                reader(path)
                n_read += 1
    assert 0 < n_read < 2 * N_MUTATIONS
