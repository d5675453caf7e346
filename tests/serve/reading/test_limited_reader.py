"""Uploads are opened in a child with limits: what it takes too much of ends it, and nothing else."""

from __future__ import annotations

import io
import os
import signal
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pool.analysis import AnalysisSettings, conclude
from pool.errors import HeartNotFoundError, UnreadableFileError, UnsupportedFileError
from pool.preprocess import PreprocessSettings
from pool.results import write_results
from serve.reading.child import read_study
from serve.reading.limits import ReadingLimits
from serve.reading.reader import LimitedReader
from tests.pool.dicom import dicom_samples
from tests.samples import bolus_frames, bolus_series, write_npz
from tests.serve.fakes import manifest_of, maps_of

SETTINGS = PreprocessSettings()


def write_dicom(folder: Path, n_slices: int) -> list[Path]:
    """A study with a heart in it."""
    series, files = bolus_series(n_slices, n_frames=12), []
    for s, frames in enumerate(series.frames):
        for t, frame in enumerate(frames):
            rows, cols = frame.shape
            tags = {"Rows": rows, "Columns": cols, "PixelSpacing": [1.9, 1.9], "RescaleSlope": 1.0}
            dataset = dicom_samples.classic(s, t, PixelData=frame.astype(np.int16).tobytes(), **tags)
            files.append(dicom_samples.write(folder / f"{s}-{t:02d}.dcm", dataset))
    return files


@pytest.fixture(scope="module")
def reader() -> Iterator[LimitedReader]:
    reader = LimitedReader(ReadingLimits(memory_mb=600, deadline_s=60))
    yield reader
    reader.close()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_a_study_comes_out_of_the_child_as_it_is_read_here(
    reader: LimitedReader, scratch: Path, tmp_path: Path
) -> None:
    for files in (
        [write_npz(tmp_path / "study.npz", bolus_series(n_slices=2, n_frames=12))],
        write_dicom(tmp_path / "dicom", n_slices=2),
    ):
        expected, prepared = read_study(files, SETTINGS)
        series, found = reader.read(files, SETTINGS, scratch)
        assert series.content_sha256() == expected.series.content_sha256()
        assert (series.slice_names, series.remarks) == (expected.series.slice_names, expected.series.remarks)
        assert [item.record() for item in found] == [item.record() for item in prepared]
        for mine, its in zip(prepared, found, strict=True):
            np.testing.assert_array_equal(mine.frames, its.frames)
        assert reader.check(files, SETTINGS, scratch) == 2
    assert list(scratch.iterdir()) == []


def test_results_written_by_the_child_are_those_written_here(
    reader: LimitedReader, scratch: Path, tmp_path: Path
) -> None:
    files = write_dicom(tmp_path / "dicom", n_slices=1)
    study, prepared = read_study(files, SETTINGS)
    answers = [{"m0": maps_of("m0", 128)}]
    analysis = conclude(study.series, prepared, answers, manifest_of(1), AnalysisSettings())
    write_results(analysis, tmp_path / "here", study.dicom)
    reader.write(analysis, files, tmp_path / "there", scratch)
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == names
    assert "segmentation.dcm" in names
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes(), name


def test_a_refusal_comes_out_in_its_own_words(reader: LimitedReader, scratch: Path, tmp_path: Path) -> None:
    dark = np.random.default_rng(0).normal(100, 5, (1, 12, 96, 80)).astype(np.float32)
    np.savez(tmp_path / "dark.npz", frames=dark, times_s=np.arange(12.0), pixel_spacing_mm=np.array([1.9, 1.9]))
    with pytest.raises(HeartNotFoundError, match="a first pass must brighten"):
        reader.check([tmp_path / "dark.npz"], SETTINGS, scratch)
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(UnreadableFileError, match=r"file x\.npz: must be a whole, readable \.npz file"):
        reader.check([tmp_path / "x.npz"], SETTINGS, scratch)
    with zipfile.ZipFile(tmp_path / "empty.npz", "w") as archive:
        archive.writestr("other.npy", b"")
    with pytest.raises(UnsupportedFileError, match="needs frames, times_s and pixel_spacing_mm"):
        reader.check([tmp_path / "empty.npz"], SETTINGS, scratch)


def deflated_bomb(path: Path, n_bytes: int) -> Path:
    """A small DICOM file in the deflated transfer syntax that unpacks to that size."""
    dataset = dicom_samples.classic(0, 0)
    dicom_samples.write(path, dataset)
    head = pydicom.dcmread(path, stop_before_pixels=True).file_meta
    head.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(bytes(n_bytes)) + deflate.flush()
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        pydicom.filewriter.write_file_meta_info(file, head)
        file.write(body)
    return path


def hostile_files(folder: Path) -> dict[str, Path]:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("final_img.npy", np.lib.format.magic(1, 0) + b"\xff\xff" + b" " * 70_000)
        archive.writestr("frames.npy", bytes(300_000_000))
    (folder / "bomb.npz").write_bytes(bomb.getvalue())
    return {"deflated": deflated_bomb(folder / "bomb.dcm", 500_000_000), "npz": folder / "bomb.npz"}


@pytest.mark.parametrize("kind", ["deflated", "npz"])
def test_a_bomb_is_refused_and_the_next_study_is_read(
    reader: LimitedReader, scratch: Path, tmp_path: Path, kind: str
) -> None:
    with pytest.raises(UnreadableFileError):
        reader.check([hostile_files(tmp_path)[kind]], SETTINGS, scratch)
    good = write_npz(tmp_path / "study.npz", bolus_series(n_frames=12))
    assert reader.check([good], SETTINGS, scratch) == 1


def test_memory_beyond_the_limit_is_a_refusal_in_words(scratch: Path, tmp_path: Path) -> None:
    reader = LimitedReader(ReadingLimits(memory_mb=64))
    frames = np.repeat(bolus_frames(n_frames=12)[None], 60, axis=0)
    np.savez(tmp_path / "large.npz", frames=frames, times_s=np.arange(12.0), pixel_spacing_mm=np.array([1.9, 1.9]))
    with pytest.raises(UnreadableFileError, match=r"MemoryError|may take at most 64 MB"):
        reader.check([tmp_path / "large.npz"], SETTINGS, scratch)
    reader.close()


def test_a_child_that_takes_too_long_is_killed(scratch: Path, tmp_path: Path) -> None:
    reader = LimitedReader(ReadingLimits(deadline_s=0.001))
    slow = write_npz(tmp_path / "study.npz", bolus_series(n_slices=3, n_frames=40))
    with pytest.raises(UnreadableFileError, match=r"must be read within 0.001 s; found longer"):
        reader.check([slow], SETTINGS, scratch)
    reader.close()


def test_after_its_zygote_was_killed_another_serves(scratch: Path, tmp_path: Path) -> None:
    reader = LimitedReader(ReadingLimits())
    good = write_npz(tmp_path / "study.npz", bolus_series(n_frames=12))
    assert reader.check([good], SETTINGS, scratch) == 1
    assert reader._zygote is not None
    os.kill(reader._zygote.pid, signal.SIGKILL)
    reader._zygote.wait()
    assert reader.check([good], SETTINGS, scratch) == 1
    reader.close()
