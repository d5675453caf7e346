"""Pixels as they are stored: compressed, scaled by private tags, listed by a DICOMDIR."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.fileset import FileSet
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from pool.dicom.archive import dicom_files
from pool.dicom.read import DicomStudy, read_dicom_study
from pool.errors import EmptyStudyError, UnreadableFileError
from pool.inputs import open_study
from tests.pool.dicom import dicom_samples as samples
from tests.pool.dicom.lossless_jpeg import encode

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def twelve_bits(s: int, t: int, signed: bool) -> np.ndarray:
    """Values up to the ends of 12 bits."""
    values = np.random.default_rng([s, t]).integers(0, 4096, (40, 64))
    values[0, :2] = (0, 4095)
    return (values - 2048 if signed else values).astype("<i2")


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_jpeg_2000_and_jpeg_ls(tmp_path: Path, syntax: str, signed: bool) -> None:
    files = []
    for s in range(3):
        for t in range(8):
            tags: dict[str, Any] = {"Rows": 40, "Columns": 64, "PixelRepresentation": int(signed)}
            tags |= {"BitsStored": 12, "HighBit": 11}
            ds = samples.classic(s, t, **tags, PixelData=twelve_bits(s, t, signed).tobytes())
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.compress(syntax, generate_instance_uid=False)
            files.append(samples.write(tmp_path / f"{s}-{t}", ds, syntax))
    frames = read_dicom_study(files).series.frames
    for s in range(3):
        for t in range(8):
            np.testing.assert_array_equal(frames[s, t], 2.0 * twelve_bits(s, t, signed) - 5)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"])
@pytest.mark.parametrize("bits", [12, 16])
def test_lossless_jpeg(tmp_path: Path, syntax: str, bits: int) -> None:
    files, stored = [], np.random.default_rng(3).integers(0, 2**bits, (8, samples.ROWS, samples.COLS))
    for t in range(8):
        tags = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": 0}
        ds = samples.classic(0, t, **tags, PixelData=encapsulate([encode(stored[t], bits)]))
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        files.append(samples.write(tmp_path / f"{t}", ds, syntax))
    np.testing.assert_array_equal(read_dicom_study(files).series.frames[0], 2.0 * stored - 5)


def philips(s: int, t: int, scale: float | bytes | None) -> Dataset:
    """As Philips writes it: another rescale slope a frame, and the private scale slope beside it."""
    ds = samples.classic(s, t, samples.philips_times, RescaleSlope=2.0 + t, RescaleIntercept=6.0)
    if scale is not None:
        block = ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
        block.add_new(0x0E, "UN" if isinstance(scale, bytes) else "FL", scale)
    return ds


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("raw", [False, True])
def test_philips_private_scaling_makes_frames_comparable(tmp_path: Path, syntax: str, raw: bool) -> None:
    """On paper, for stored 10, slope 5, intercept 6, scale slope 0.25: (10 x 5 + 6) / (5 x 0.25) = 44.8."""
    scale: float | bytes = struct.pack("<f", 0.25) if raw else 0.25
    files = [
        samples.write(tmp_path / f"{s}-{t}", philips(s, t, scale), syntax)
        for s in range(3)
        for t in range(samples.N_FRAMES)
    ]
    study = read_dicom_study(files)
    stored = samples.pixels(0, 3)
    assert stored[0, 0] == 300 - 300 + stored[0, 0]
    expected = (stored * 5.0 + 6.0) / (5.0 * 0.25)
    np.testing.assert_allclose(study.series.frames[0, 3], expected, rtol=1e-6)
    assert (10 * 5 + 6) / (5 * 0.25) == 44.8
    assert "pixels are in Philips' floating-point units, by the private scale slope" in study.series.remarks


def test_scaling_that_only_some_frames_have_is_not_mixed(tmp_path: Path) -> None:
    files = [
        samples.write(tmp_path / f"{s}-{t}", philips(s, t, 0.25 if t else None))
        for s in range(3)
        for t in range(samples.N_FRAMES)
    ]
    study = read_dicom_study(files)
    np.testing.assert_allclose(study.series.frames[0, 3], samples.pixels(0, 3) * 5.0 + 6.0)
    assert "Philips' scale slope is absent from 3 frames: pixels are display values" in study.series.remarks


def test_philips_scaling_of_enhanced_files_lies_in_a_private_sequence(tmp_path: Path) -> None:
    ds = samples.enhanced()
    for item in ds.PerFrameFunctionalGroupsSequence:
        inner = Dataset()
        inner.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x0E, "FL", 0.5)
        item.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x0F, "SQ", [inner])
    study = read_dicom_study([samples.write(tmp_path / "e", ds)])
    np.testing.assert_allclose(study.series.frames[1, 4], (2.0 * samples.pixels(1, 4) - 5.0) / (2.0 * 0.5))


def medium(folder: Path) -> Path:
    """A disc as a viewer burns it."""
    disc = FileSet()
    for path in samples.write_study(folder / "in", n_slices=1):
        file = pydicom.dcmread(path)
        disc.add(file)
    disc.write(folder / "disc")
    return folder / "disc" / "DICOMDIR"


def frames_of(study: DicomStudy | None) -> int:
    assert study is not None
    return study.series.n_frames


def test_a_dicomdir_stands_for_the_images_that_it_lists(tmp_path: Path) -> None:
    directory = medium(tmp_path)
    samples.write(directory.parent / "STRAY", samples.classic(0, 12, SOPInstanceUID="1.2.3.99"))
    assert frames_of(open_study(directory).dicom) == samples.N_FRAMES
    assert frames_of(open_study(directory.parent).dicom) == samples.N_FRAMES + 1  # a folder is what lies in it
    for file in sorted(directory.parent.rglob("*"), reverse=True):  # as some systems copy a disc
        if file.name not in ("DICOMDIR", "STRAY"):
            file.rename(file.with_name(file.name.lower()))
    assert frames_of(open_study(directory).dicom) == samples.N_FRAMES


def test_a_dicomdir_without_its_images_is_refused(tmp_path: Path) -> None:
    directory = medium(tmp_path)
    next(path for path in directory.parent.rglob("*") if path.is_file() and path != directory).unlink()
    with (
        pytest.raises(UnreadableFileError, match="every image that it lists must lie beside it; found one that is not"),
        dicom_files(directory),
    ):
        pass
    listed = pydicom.dcmread(directory)
    for name, words in (([".."], "leads elsewhere"), (["..", "x"], "leads elsewhere"), (["/etc"], "leads elsewhere")):
        for record in listed.DirectoryRecordSequence:
            if record.DirectoryRecordType == "IMAGE":
                record.ReferencedFileID = name
        listed.save_as(directory)
        with pytest.raises(UnreadableFileError, match=words), dicom_files(directory):
            pass
    listed.DirectoryRecordSequence = []
    listed.save_as(directory)
    with pytest.raises(EmptyStudyError, match="must list at least one image"), dicom_files(directory):
        pass
