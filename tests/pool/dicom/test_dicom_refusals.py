"""Studies that are refused, and the words for it; no word is a patient's."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from pool.dicom.archive import dicom_files, find_dicom_files
from pool.dicom.read import read_dicom_study
from pool.errors import (
    EmptyStudyError,
    InconsistentStudyError,
    PoolError,
    TooFewFramesError,
    UnreadableFileError,
    UnsupportedFileError,
)
from tests.pool.dicom import dicom_samples as samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def refusal(files: list[Path], kind: type[PoolError]) -> str:
    """The text of a refusal, which never names the patient."""
    with pytest.raises(kind) as caught:
        read_dicom_study(files)
    assert type(caught.value) is kind
    text = str(caught.value)
    assert not any(secret in text for secret in ("Secret", "SECRET", "19700102", "20240305"))
    return text


def test_nothing_sent() -> None:
    assert refusal([], EmptyStudyError) == "study: needs at least one file; found none. Choose the exported images."


def test_no_dicom(tmp_path: Path) -> None:
    (tmp_path / "letter.dcm").write_text("not an image")
    assert refusal([tmp_path / "letter.dcm"], UnreadableFileError) == (
        "study: needs at least one DICOM file; found 1 file, none of them DICOM. "
        "Export the images from the scanner or the archive as DICOM."
    )


def test_no_mr_image(tmp_path: Path) -> None:
    file = samples.write(tmp_path / "ct", samples.classic(0, 0, SOPClassUID="1.2.840.10008.5.1.4.1.1.2"))
    assert refusal([file], UnsupportedFileError) == (
        "study: needs MR images (MR or Enhanced MR Image Storage); found CT Image Storage. "
        "Send the scanner's original perfusion images."
    )


def test_unequal_frame_counts(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    del files[1 + 3 * 9], files[1 + 3 * 8]
    assert refusal(files, InconsistentStudyError) == (
        "slice mid: every slice of a series needs the same number of frames; "
        "found 8 frames, the others 10 (base 10, mid 8, apex 10). Was it cut during export?"
    )


@pytest.mark.parametrize("own_series", [False, True])
def test_a_slice_cut_to_three_frames_is_not_dropped(tmp_path: Path, own_series: bool) -> None:
    files = [
        samples.write(tmp_path / f"{s}-{t}", samples.classic(s, t, series_uid=f"1.2.9.{s}" if own_series else "1.2.9"))
        for s in range(3)
        for t in range(3 if s == 2 else 10)
    ]
    assert "found 3 frames, the others 10 (base 10, mid 10, apex 3)" in refusal(files, InconsistentStudyError)


def test_too_few_frames(tmp_path: Path) -> None:
    assert refusal(samples.write_study(tmp_path, n_frames=7), TooFewFramesError) == (
        "series: a first pass needs at least 8 frames of the same slice; found 7 at most. "
        "Was the export cut, or are these localisers?"
    )


@pytest.mark.parametrize("tag", ["PatientID", "PatientName", "PatientBirthDate"])
def test_two_patients(tmp_path: Path, tag: str) -> None:
    files = samples.write_study(tmp_path)
    samples.write(files[4], samples.classic(1, 1, **{tag: "20010203"}))
    text = refusal(files, InconsistentStudyError)
    assert text == "study: must be of one patient; found files of 2 patients. Send each patient on their own."


def test_two_studies(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    samples.write(files[4], samples.classic(1, 1, StudyInstanceUID="1.2.77"))
    text = refusal(files, InconsistentStudyError)
    assert text == "study: must be of one examination; found files of 2 studies. Send each study on its own."


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
@pytest.mark.parametrize("everywhere", [True, False])
def test_missing_geometry_is_named(tmp_path: Path, tag: str, everywhere: bool) -> None:
    files = samples.write_study(tmp_path, **({tag: None} if everywhere else {}))
    samples.write(files[0], samples.classic(0, 0, **{tag: None}))
    text = refusal(files, InconsistentStudyError)
    assert f"needs its place in the patient, which is never guessed; found no {tag}." in text
    if not everywhere:
        assert text.startswith(f"file {files[0].name}: ")


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ImagePositionPatient", b"nan\\10\\60"),
        ("ImagePositionPatient", b"inf\\10\\60"),
        ("ImageOrientationPatient", b"0.8\\0.6\\nan\\0\\0\\-1"),
        ("PixelSpacing", b"nan\\2"),
        ("PixelSpacing", b"-2.5\\2"),
        ("PixelSpacing", b"0\\2"),
        ("PixelSpacing", b"1e999\\2"),
    ],
)
@pytest.mark.parametrize("everywhere", [True, False])
def test_impossible_geometry_is_named(tmp_path: Path, tag: str, value: bytes, everywhere: bool) -> None:
    files = samples.write_study(tmp_path)
    for file in files if everywhere else files[:1]:
        raw = file.read_bytes()
        number = pydicom.tag.Tag(tag)
        start = raw.index(number.group.to_bytes(2, "little") + number.element.to_bytes(2, "little") + b"DS")
        length = int.from_bytes(raw[start + 6 : start + 8], "little")
        padded = value + b" " * (len(value) % 2)
        file.write_bytes(raw[: start + 6] + len(padded).to_bytes(2, "little") + padded + raw[start + 8 + length :])
    text = refusal(files, InconsistentStudyError)
    assert f"needs its place in the patient, which is never guessed; found an impossible {tag}." in text


def test_orientation_that_is_none(tmp_path: Path) -> None:
    text = refusal(samples.write_study(tmp_path, ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), InconsistentStudyError)
    assert "ImageOrientationPatient must be two perpendicular unit vectors" in text


def test_no_times(tmp_path: Path) -> None:
    def timeless(ds: Dataset, s: int, t: int) -> None:
        ds.TriggerTime = 120.0

    assert refusal(samples.write_study(tmp_path, timeless), InconsistentStudyError) == (
        "series: frames need a time tag that differs from frame to frame and spans the seconds of a first pass; "
        "found TriggerTime has 1 distinct value in 10 frames. Is this a cine, or did an anonymiser remove the times?"
    )


def test_cine(tmp_path: Path) -> None:
    def beat(ds: Dataset, s: int, t: int) -> None:
        ds.TriggerTime = 30.0 * t

    assert "found TriggerTime spans 0.27 s." in refusal(samples.write_study(tmp_path, beat), InconsistentStudyError)


def test_stress_and_rest_together(tmp_path: Path) -> None:
    def later(ds: Dataset, s: int, t: int) -> None:
        ds.AcquisitionTime = samples.clock(11 * 3600 + 0.8 * t + 0.2 * s)

    files = samples.write_study(tmp_path / "stress")
    files += samples.write_study(tmp_path / "rest", later, series_uid="1.2.9", SeriesNumber=20)
    assert refusal(files, InconsistentStudyError) == (
        "study: must hold one perfusion run; found 2 dynamic stacks: 3 slices of 10 frames (series 12) and "
        "3 slices of 10 frames (series 20). Runs are analysed one at a time: choose one by --run stress or --run rest, "
        "say what a series is by --series NUMBER=stress, or send one run alone."
    )


def test_stress_and_rest_at_neighbouring_places_do_not_become_six_slices(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path / "stress")
    for s in range(3):
        for t in range(samples.N_FRAMES):
            x, y, z = samples.position(s)
            frame = samples.classic(s, t, series_uid="1.2.9", ImagePositionPatient=[x + 3, y - 4, z])
            frame.AcquisitionTime = samples.clock(11 * 3600 + 0.8 * t + 0.2 * s)
            files.append(samples.write(tmp_path / f"rest{s}-{t}", frame))
    assert "found 2 dynamic stacks" in refusal(files, InconsistentStudyError)


def test_same_identifier_for_different_pixels(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    other = samples.write(tmp_path / "other", samples.classic(0, 0, PixelData=bytes(samples.ROWS * samples.COLS * 2)))
    assert "files with the same SOP Instance UID must be the same" in refusal([*files, other], InconsistentStudyError)


def cut_in_pixels(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def cut_in_header(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:500])


def fewer_pixels_than_declared(file: Path) -> None:
    samples.write(file, samples.classic(0, 0, PixelData=b"\x00" * 50))


def no_pixels(file: Path) -> None:
    samples.write(file, samples.classic(0, 0, PixelData=None))


def absurd_matrix(file: Path) -> None:
    samples.write(file, samples.classic(0, 0, NumberOfFrames="99999999"))


def nested_two_hundred_deep(file: Path) -> None:
    inner = Dataset()
    for _ in range(200):
        outer = Dataset()
        outer.ReferencedImageSequence = [inner]
        inner = outer
    ds = samples.classic(0, 0)
    ds.ReferencedImageSequence = [inner]
    samples.write(file, ds)
    raw = file.read_bytes()
    # Undefined lengths make the reader descend: rebuild the tower by hand.
    start = raw.index(b"\x08\x00\x40\x11SQ")
    end = raw.index(b"\x10\x00\x10\x00PN")
    opening = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\x00\x00\x00\x00\xfe\xff\xdd\xe0\x00\x00\x00\x00"
    file.write_bytes(raw[:start] + opening * 200 + closing * 200 + raw[end:])


def deflated_bomb(file: Path) -> None:
    samples.write(file, samples.classic(0, 0))
    raw = file.read_bytes()
    meta_end = 132 + 12 + int.from_bytes(raw[140:144], "little")
    syntax = raw[132:meta_end].replace(b"1.2.840.10008.1.2.1\x00", b"1.2.840.10008.1.2.1.99")
    length = syntax.index(b"\x02\x00\x10\x00UI") + 6
    syntax = syntax[:length] + (22).to_bytes(2, "little") + syntax[length + 2 :]
    syntax = syntax[:8] + (len(syntax) - 12).to_bytes(4, "little") + syntax[12:]
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = b"".join(squeeze.compress(bytes(2**20)) for _ in range(64)) + squeeze.flush()
    file.write_bytes(raw[:132] + syntax + packed)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (cut_in_pixels, "must hold the 384 bytes of pixels that its header declares; found 284 bytes."),
        (cut_in_header, ""),
        (fewer_pixels_than_declared, "must hold the 384 bytes of pixels that its header declares; found 50 bytes."),
        (no_pixels, "must hold pixels; found none."),
        (absurd_matrix, "must declare between 1 and 268435456 pixels; found (99999999, 12, 16)"),
        (nested_two_hundred_deep, "must be a complete, valid DICOM file; found RecursionError while reading it."),
        (deflated_bomb, "deflated data may not grow beyond 17 MiB; found"),
    ],
)
def test_one_broken_file_refuses_the_study(tmp_path: Path, harm: Callable[[Path], None], words: str) -> None:
    files = samples.write_study(tmp_path)
    harm(files[0])
    text = refusal(files, UnreadableFileError)
    assert text.startswith(f"file {files[0].name}: ")
    assert words in text


def test_deflated_files_of_normal_size_are_read(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    samples.write(files[0], samples.classic(0, 0), "1.2.840.10008.1.2.1.99")
    assert read_dicom_study(files).series.n_frames == samples.N_FRAMES


def test_transfer_syntax_that_cannot_be_decoded(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    ds = samples.classic(0, 0)
    ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    samples.write(files[0], ds, "1.2.840.10008.1.2.4.100")
    assert refusal(files, UnsupportedFileError) == (
        f"file {files[0].name}: must be in a transfer syntax that can be decoded here; found MPEG2 Main "
        "Profile / Main Level (1.2.840.10008.1.2.4.100). Export it uncompressed (Explicit VR Little Endian)."
    )


def test_colour(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path, PhotometricInterpretation="RGB")
    assert "must hold grey-scale pixels (MONOCHROME2, one sample a pixel); found RGB" in refusal(
        files, UnsupportedFileError
    )


def test_groups_that_do_not_match_the_frames(tmp_path: Path) -> None:
    ds = samples.enhanced()
    ds.NumberOfFrames = 31
    assert "found 30 groups for 31 frames" in refusal([samples.write(tmp_path / "e", ds)], UnreadableFileError)


def zipped(path: Path, members: dict[str, bytes], **changes: Any) -> Path:
    """A zip archive of `members`; `changes` go into the last entry."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            for key, value in changes.items():
                setattr(info, key, value)
            archive.writestr(info, data)
    return path


def test_folder_and_zip_give_the_same_study(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    files = samples.write_study(folder / "deep" / "er")
    (folder / "truth.npz").write_bytes(b"PK")
    (folder / "Secret notes.txt").touch()
    archive = zipped(tmp_path / "s.zip", {f"a/{i % 3}/{f.name}": f.read_bytes() for i, f in enumerate(files)})
    with dicom_files(folder) as found:
        one = read_dicom_study(found)
    with dicom_files(archive) as found:
        two = read_dicom_study(found)
        unpacked = found[0]
    assert one.series.content_sha256() == two.series.content_sha256()
    assert one.series.remarks[1:] == ("left out 2 files that are no DICOM",)
    assert not unpacked.exists()


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("/etc/passwd", {}, "may hold relative names only, without '..'; found a name outside the archive"),
        ("a/../../b", {}, "may hold relative names only, without '..'; found a name outside the archive"),
        ("C:\\x\\y", {}, "may hold relative names only, without '..'; found a name outside the archive"),
        ("link", {"external_attr": 0o120777 << 16}, "may not hold links; found a link"),
    ],
)
def test_archives_that_reach_out(tmp_path: Path, name: str, changes: dict[str, Any], words: str) -> None:
    archive = zipped(tmp_path / "s.zip", {name: b"x"}, **changes)
    with pytest.raises(UnreadableFileError) as caught, dicom_files(archive):
        pass
    assert words in str(caught.value)


def test_archive_that_grows_beyond_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.dicom.archive.MOST_BYTES", 2**20)
    archive = zipped(tmp_path / "s.zip", {"a": bytes(2**21)})
    with pytest.raises(UnreadableFileError, match="may unpack to at most"), dicom_files(archive):
        pass


def test_archive_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pool.dicom.archive.MOST_FILES", 2)
    archive = zipped(tmp_path / "s.zip", {str(i): b"" for i in range(3)})
    with pytest.raises(UnreadableFileError, match="may hold at most 2 files; found 3"), dicom_files(archive):
        pass


def test_archive_that_is_cut(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", b"x" * 1000)
    broken = bytearray(buffer.getvalue())
    broken[40:60] = bytes(20)
    (tmp_path / "s.zip").write_bytes(broken)
    refusal = pytest.raises(UnreadableFileError, match="must be a complete, unencrypted zip archive")
    with refusal, dicom_files(tmp_path / "s.zip"):
        pass


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(EmptyStudyError, match="found an empty folder"):
        find_dicom_files(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UnreadableFileError, match="found 1 file, none of them DICOM"):
        find_dicom_files(tmp_path)
    with pytest.raises(UnreadableFileError, match="must be an existing file, folder or zip archive; .* Check the path"):
        find_dicom_files(tmp_path / "gone")


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("IM0001", b"", "0 bytes"),
        ("IM0001", bytes(131), "131 bytes"),
        ("im.dcm", bytes(500), "500 bytes without the mark of DICOM"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_image_cut_to_nothing_is_missed(tmp_path: Path, name: str, content: bytes, found: str, packed: bool) -> None:
    """Nine of ten frames must not pass for a study of nine."""
    files = samples.write_study(tmp_path / "scan", n_slices=1)
    files[3].unlink()
    (tmp_path / "scan" / name).write_bytes(content)
    members = {path.name: path.read_bytes() for path in (tmp_path / "scan").iterdir()}
    source = zipped(tmp_path / "s.zip", members) if packed else tmp_path / "scan"
    with pytest.raises(UnreadableFileError) as caught, dicom_files(source) as listed:
        read_dicom_study(listed)
    text = str(caught.value)
    assert packed or text.startswith(f"file {name}: ")
    assert f"must be a whole DICOM file, as the others are; found {found}. Was the copy cut?" in text


@pytest.mark.parametrize("packed", [False, True])
def test_side_files_of_any_size_stay_remarks(tmp_path: Path, packed: bool) -> None:
    files = samples.write_study(tmp_path / "scan")
    names = ("truth.npz", "a.JSON", "notes.txt", "t.csv", "DICOMDIR", "VERSION")
    members = {path.name: path.read_bytes() for path in files} | dict.fromkeys(names, b"")
    for name in names:
        (tmp_path / "scan" / name).touch()
    for name in (".DS_Store", "Thumbs.db"):
        (tmp_path / "scan" / name).touch()
    with dicom_files(zipped(tmp_path / "s.zip", members) if packed else tmp_path / "scan") as found:
        assert read_dicom_study(found).series.remarks[1:] == ("left out 6 files that are no DICOM",)


def test_a_file_without_permission_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, whom no permission stops: the refusal of the system is played."""
    files = samples.write_study(tmp_path)
    notes = tmp_path / "notes.txt"
    notes.touch()
    opened = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path in (files[4], notes):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    words = "must be readable; found permission denied. Allow reading it, or copy it elsewhere."
    assert refusal([*files, notes], UnreadableFileError) == f"file {files[4].name}: {words}"
    assert len(read_dicom_study([*samples.write_study(tmp_path / "whole"), notes]).series.remarks) == 2


def test_a_link_to_a_missing_image_is_missed(tmp_path: Path) -> None:
    samples.write_study(tmp_path)
    (tmp_path / "IM9").symlink_to(tmp_path / "gone")
    with pytest.raises(UnreadableFileError, match="file IM9: must be readable; found no such file or directory"):
        read_dicom_study(find_dicom_files(tmp_path))


def test_a_folder_without_permission_is_not_called_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples.write_study(tmp_path / "open")
    (tmp_path / "closed").mkdir()
    listed = os.scandir

    def refuse(path: Any = ".") -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for folder in (tmp_path, tmp_path / "closed"):
        with pytest.raises(UnreadableFileError) as caught:
            find_dicom_files(folder)
        assert str(caught.value) == (
            "folder closed: must be readable, with all that is in it; found permission denied. "
            "Allow reading it, or copy it elsewhere."
        )


def test_archives_of_nothing(tmp_path: Path) -> None:
    for members in ({}, {"folder/": b""}, {"__MACOSX/a": b"x", ".DS_Store": b"x"}):
        archive = zipped(tmp_path / "s.zip", members)
        with pytest.raises(EmptyStudyError, match="archive s.zip: needs at least one file; found an empty archive."):
            dicom_files(archive).__enter__()


def test_long_names_in_any_script_are_unpacked(tmp_path: Path) -> None:
    """90 letters of three bytes are more than the 255 bytes that a file system's names may have."""
    files = samples.write_study(tmp_path / "scan")
    members = {f"{'心' * 90}{i}.dcm": path.read_bytes() for i, path in enumerate(files)}
    with dicom_files(zipped(tmp_path / "s.zip", members)) as found:
        assert [path.name for path in found[:2]] == ["00000.dcm", "00001.dcm"]
        assert read_dicom_study(found).series.n_slices == 3


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_archives_with_damaged_members(tmp_path: Path, compression: int) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w", compression) as archive:
        archive.writestr("a", bytes(range(256)) * 40)
    data = bytearray((tmp_path / "s.zip").read_bytes())
    data[45:75] = b"\xa5" * 30
    (tmp_path / "s.zip").write_bytes(data)
    with pytest.raises(UnreadableFileError, match="archive s.zip: must be .*Pack the exported images again"):
        dicom_files(tmp_path / "s.zip").__enter__()


def bundled_files() -> list[Path]:
    """Every file that pydicom brings along: MR in many transfer syntaxes, broken and truncated files."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_pydicoms_own_files_are_read_or_refused() -> None:
    assert len(bundled_files()) > 100
    for path in bundled_files():
        with pytest.raises(PoolError):
            read_dicom_study([path])
