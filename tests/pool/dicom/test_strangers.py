"""Files from anywhere: read, or refused in a sentence; never a traceback, a hang, or more memory than is allowed."""

from __future__ import annotations

import shutil
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.charset import python_encoding

from pool.dicom.archive import MOST_FILES, dicom_files
from pool.dicom.derived import Origin
from pool.dicom.frames import CLASSIC_CLASSES, ENHANCED_CLASSES
from pool.dicom.read import read_dicom_study
from pool.dicom.segmentation import write_segmentation
from pool.errors import PoolError, UnreadableFileError
from tests.pool.dicom import dicom_samples as samples
from tests.pool.dicom.strangers import mutations, outcomes, pydicom_files, seeds

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def is_mr(path: Path) -> bool:
    try:
        kind = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=["SOPClassUID"])
        return kind.get("SOPClassUID") in CLASSIC_CLASSES + ENHANCED_CLASSES
    except Exception:
        return path.name.upper().startswith("MR")


def test_every_mr_file_of_pydicom_is_read_or_refused() -> None:
    """With 300 MB and 5 s for each; what was only refused must have a reason that fits the file."""
    pytest.importorskip("data_store", reason="pydicom-data is not installed")
    files = [path for path in pydicom_files() if is_mr(path)]
    found = list(outcomes((path.name, path.read_bytes()) for path in files))
    assert len(found) > 30
    bad = [outcome for outcome in found if outcome.said.startswith(("!", "crashed")) or "MemoryError" in outcome.said]
    assert bad == []
    said = {outcome.name: outcome.said for outcome in found}
    assert said["MR_small.dcm"] == said["MR_small_RLE.dcm"] == "read"
    assert "needs one functional group a frame; found 0 groups for 10 frames" in said["emri_small.dcm"]
    assert said["MR_small_jp2klossless.dcm"] == said["MR-SIEMENS-DICOM-WithOverlays.dcm"] == "read"
    assert "must hold the 8192 bytes of pixels that its header declares" in said["MR_truncated.dcm"]
    assert Counter(text == "read" for text in said.values())[True] > len(said) / 2


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    """A short run of what `make fuzz` does for longer."""
    found = list(outcomes(mutations(seeds(tmp_path), 150, seed=20240305)))
    assert len(found) == 150
    assert [outcome for outcome in found if outcome.said.startswith("!")] == []


def hostile_zip(path: Path, n_files: int, claimed: int | None = None) -> Path:
    """A zip of many empty files whose end may claim another number of them."""
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(n_files):
            archive.writestr(str(i), b"")
    if claimed is not None:
        data = bytearray(path.read_bytes())
        end = data.rindex(b"PK\x05\x06")
        data[end + 8 : end + 12] = claimed.to_bytes(2, "little") * 2
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("claimed", [None, 3])
def test_an_archive_of_a_million_tiny_files_is_refused_before_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int | None
) -> None:
    """A hundredth of a million here; the list alone of a million takes a gigabyte."""
    path = hostile_zip(tmp_path / "s.zip", 10_000, claimed)
    monkeypatch.setattr("pool.dicom.archive.MOST_FILES", 1_000)

    def listed(*_: object, **__: object) -> None:
        raise AssertionError("it was listed")

    monkeypatch.setattr("zipfile.ZipFile", listed)
    with pytest.raises(UnreadableFileError, match="may hold at most 1000 files"):
        dicom_files(path).__enter__()


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.dicom.archive.MOST_FOLDER_FILES", 50)
    for i in range(51):
        (tmp_path / f"{i}").touch()
    with pytest.raises(UnreadableFileError, match="may hold at most 50 files"):
        dicom_files(tmp_path).__enter__()
    assert MOST_FILES >= 20_000


def test_a_zip_bomb_of_one_member_listed_many_times_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 times the same megabyte, which is stored once: newer Pythons see the overlap, all see the size."""
    monkeypatch.setattr("pool.dicom.archive.MOST_BYTES", 16 * 2**20)
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(2**20))
    data = bytearray((tmp_path / "s.zip").read_bytes())
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = bytes(data[start:end])
    data[start:end] = entry * 64
    end = data.rindex(b"PK\x05\x06")
    data[end + 8 : end + 16] = (64).to_bytes(2, "little") * 2 + (64 * len(entry)).to_bytes(4, "little")
    (tmp_path / "s.zip").write_bytes(data)
    with pytest.raises(UnreadableFileError, match=r"may unpack to at most|must be a complete, unencrypted zip archive"):
        dicom_files(tmp_path / "s.zip").__enter__()


@pytest.mark.parametrize("preamble", [b"MZ" + bytes(126), b"\x7fELF" + bytes(124)])
def test_programs_in_the_preamble_are_read_and_never_passed_on(tmp_path: Path, preamble: bytes) -> None:
    files = samples.write_study(tmp_path / "in")
    for file in files:
        file.write_bytes(preamble + file.read_bytes()[128:])
    study = read_dicom_study(files)
    mask = np.zeros((3, samples.ROWS, samples.COLS), dtype=bool)
    mask[0, 1, 1] = True
    write_segmentation(tmp_path / "s", study, mask, origin=Origin("i", "ab" * 32, "0"))
    assert (tmp_path / "s").read_bytes()[:128] == bytes(128)


def written(files: list[Path], path: Path, mask: np.ndarray) -> str:
    """Read a study and write a segmentation of it; the refusal, or nothing."""
    try:
        write_segmentation(path, read_dicom_study(files), mask, origin=Origin("i", "ab" * 32, "0"))
    except PoolError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("encoding", sorted(set(python_encoding) - {""}))
def test_names_in_every_character_set_whatever_bytes_they_hold(tmp_path: Path, encoding: str) -> None:
    """Bytes that the character set does not know, in a name that is copied into every result."""
    name = b"M\xfcl\xe9er^\xb1\xe8\xc5\xc1\x1b$B;3ED\x1b(B^\xff\xfe"
    files = samples.write_study(tmp_path / "in", n_slices=1, SpecificCharacterSet=encoding, PatientName="A" * len(name))
    for file in files:
        file.write_bytes(file.read_bytes().replace(b"A" * len(name), name))
    mask = np.zeros((1, samples.ROWS, samples.COLS), dtype=bool)
    mask[0, 1, 1] = True
    refusal = written(files, tmp_path / "s", mask)
    assert "ller" not in refusal
    if not refusal:
        assert pydicom.dcmread(tmp_path / "s").SpecificCharacterSet == "ISO_IR 192"
        assert str(pydicom.dcmread(tmp_path / "s").PatientName) == read_dicom_study(files).identity["PatientName"]


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("StudyInstanceUID", "no.uid.at.all"),
        ("StudyInstanceUID", "1.2.3." + "4" * 80),
        ("SeriesInstanceUID", "1..2"),
        ("SOPInstanceUID", "../../etc/passwd"),
        ("FrameOfReferenceUID", "x"),
        ("StudyDate", "20241399"),
        ("StudyDate", "yesterday"),
        ("StudyTime", "9999"),
        ("PatientBirthDate", "00000000"),
        ("PatientSex", "?"),
        ("PatientAge", "young"),
        ("PatientWeight", "heavy"),
    ],
)
def test_identifiers_and_dates_that_are_none(tmp_path: Path, tag: str, value: str) -> None:
    """A study is analysed and its results are valid objects, or it is refused in words before any work."""
    files = samples.write_study(tmp_path / "in", n_slices=1)
    for file in files:
        dataset = pydicom.dcmread(file)
        own = f"{value}.{file.name}" if tag == "SOPInstanceUID" else value
        dataset._dict.pop(pydicom.tag.Tag(tag), None)
        raw = pydicom.DataElement(tag, "LO", own)
        raw.VR = pydicom.datadict.dictionary_VR(tag)
        dataset.add(raw)
        dataset.save_as(file)
    mask = np.zeros((1, samples.ROWS, samples.COLS), dtype=bool)
    mask[0, 1, 1] = True
    refusal = written(files, tmp_path / "s", mask)
    assert value not in refusal
    assert refusal or pydicom.dcmread(tmp_path / "s").NumberOfFrames == 1


def test_links_in_a_folder_lead_to_images_and_not_in_circles(tmp_path: Path) -> None:
    samples.write_study(tmp_path / "in")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "passwd").symlink_to("/etc/passwd")
    with dicom_files(tmp_path / "in") as found:
        assert read_dicom_study(found).series.n_frames == samples.N_FRAMES
    shutil.rmtree(tmp_path / "in")
