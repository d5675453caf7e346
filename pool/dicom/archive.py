"""Find the files of a study in a folder or in a zip archive that nobody vouches for."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from pool.dicom.media import media_directory_files
from pool.dicom.opening import IMAGE_SUFFIXES, SIDE_NAMES, SIDE_SUFFIXES, is_dicom
from pool.errors import EmptyStudyError, PoolError, UnreadableFileError

MOST_FILES = 20_000
"""Most files of one archive; a study of 3 x 90 classic frames has 270."""
MOST_FOLDER_FILES = 200_000
"""Most files of one folder, all that lie below it included; a disc of ten examinations has 20,000."""
MOST_BYTES = 4 * 2**30
"""Most bytes that one archive may unpack to."""
_SYSTEM_NAMES = {".DS_Store", "Thumbs.db", "desktop.ini"}
_CHUNK = 2**20
_LONGEST_END, _LIST_BYTES = 2**16 + 200, 400
"""Bytes at the end of an archive that hold its end record; bytes of its list for one member, a long name included."""


def find_dicom_files(path: Path) -> list[Path]:
    """Every file of a folder (searched to the bottom, any extension), in order of its path; a single file is itself.

    A DICOMDIR stands for the images that it lists.

    Side files stay in the list, so that the reader can say how many it left out.

    Raises:
        EmptyStudyError: no file at all.
        UnreadableFileError: no such path, no DICOM file among the files, or a file or folder without permission.
    """
    if path.is_file():
        found = media_directory_files(path) if path.name.upper() == "DICOMDIR" else [path]
    elif path.is_dir():
        found = _files_below(path)
    else:
        raise UnreadableFileError(
            path.name, "must be an existing file, folder or zip archive", "none of these", "Check the path."
        )
    if not found:
        raise EmptyStudyError(
            "study", "needs at least one file", "an empty folder", "Choose the folder that holds the exported images."
        )
    if not any(is_dicom(file) for file in found):
        raise UnreadableFileError(
            "study",
            "needs at least one DICOM file",
            f"{len(found)} {'file' if len(found) == 1 else 'files'}, none of them DICOM",
            "Export the images from the scanner or the archive as DICOM.",
        )
    return found


@contextmanager
def dicom_files(path: Path) -> Iterator[list[Path]]:
    """The files of a folder, of a zip archive or the one file, for as long as the block lasts.

    An archive is unpacked into a temporary folder that vanishes with the block.

    Raises:
        EmptyStudyError, UnreadableFileError: as `find_dicom_files`; also an archive that is broken, encrypted, too
            large, or that holds absolute names, `..` or links.
    """
    if path.is_file() and not is_dicom(path) and zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="study-") as folder:
            _unpack(path, Path(folder))
            yield find_dicom_files(Path(folder))
    else:
        yield find_dicom_files(path)


def _files_below(folder: Path) -> list[Path]:
    """Every file but those of the system; what cannot be listed is an error, never nothing."""

    def refuse(error: OSError) -> None:
        raise error

    try:
        files: list[Path] = []
        for at, _, names in os.walk(folder, onerror=refuse):
            files += [Path(at) / name for name in names]
            if len(files) > MOST_FOLDER_FILES:
                raise UnreadableFileError(
                    f"folder {folder.name}",
                    f"may hold at most {MOST_FOLDER_FILES} files",
                    "more",
                    "Point at the folder of one examination.",
                )
        # a link to nothing stays in the list: the image it stands for is missing
        return sorted(file for file in files if not _is_system_file(file) and (file.is_file() or not file.exists()))
    except OSError as error:
        raise UnreadableFileError(
            f"folder {Path(error.filename or folder).name}",
            "must be readable, with all that is in it",
            "permission denied" if isinstance(error, PermissionError) else type(error).__name__,
            "Allow reading it, or copy it elsewhere.",
        ) from error


def _is_system_file(file: Path) -> bool:
    return file.name in _SYSTEM_NAMES or file.name.startswith("._") or "__MACOSX" in file.parts


def _unpack(archive: Path, folder: Path) -> None:
    """`_write_members`, with an error in words for whatever is wrong with the archive."""
    try:
        _write_members(archive, folder)
    except PoolError:
        raise
    except OSError as error:
        raise _refusal(archive, "must be a zip archive that can be unpacked", type(error).__name__) from error
    except Exception as error:  # zlib, lzma and zipfile share no class of their errors
        raise _refusal(archive, "must be a complete, unencrypted zip archive", type(error).__name__) from error


def _write_members(archive: Path, folder: Path) -> None:
    """Write every member under a running number: no name of the archive ever becomes a path.

    What the reader knows side files and images by stays at its end: these names hold nothing of the patient's.
    """
    _refuse_long_list(archive)
    with zipfile.ZipFile(archive) as opened:
        members = [info for info in opened.infolist() if not info.is_dir()]
        if len(members) > MOST_FILES:
            raise _refusal(archive, f"may hold at most {MOST_FILES} files", f"{len(members)}")
        left = MOST_BYTES
        for number, info in enumerate(sorted(members, key=lambda info: info.filename)):
            base_name = _checked_base_name(archive, info)
            if _is_system_file(Path(base_name)) or "__MACOSX" in info.filename:
                continue
            target = folder / numbered_name(number, base_name)
            target.parent.mkdir(exist_ok=True)
            with opened.open(info) as source, target.open("wb") as sink:
                while chunk := source.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise _refusal(archive, f"may unpack to at most {MOST_BYTES // 2**30} GiB", "more")
                    if shutil.disk_usage(folder).free < len(chunk):
                        raise _refusal(archive, "needs room to unpack", "a full disk")
                    sink.write(chunk)
    if not any(folder.iterdir()):
        raise EmptyStudyError(
            f"archive {archive.name}", "needs at least one file", "an empty archive", "Pack the images again."
        )


def numbered_name(number: int, base_name: str) -> Path:
    """A name that keeps nothing of another but what the reader knows side files and images by."""
    if base_name.upper() in SIDE_NAMES:
        return Path(f"{number:05d}") / base_name.upper()
    suffix = PurePosixPath(base_name).suffix.lower()
    return Path(f"{number:05d}{suffix if suffix in SIDE_SUFFIXES + IMAGE_SUFFIXES else ''}")


def _checked_base_name(archive: Path, info: zipfile.ZipInfo) -> str:
    """The last part of a member's name; refusals do not repeat it, because exports name files after patients."""
    name = info.filename.replace("\\", "/")
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or (parts and parts[0].endswith(":")):
        raise _refusal(archive, "may hold relative names only, without '..'", "a name outside the archive")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _refusal(archive, "may not hold links", "a link")
    return parts[-1] if parts else "file"


def _refuse_long_list(archive: Path) -> None:
    """Look at the end of the archive alone: the list of a million members takes a gigabyte to read.

    The number of members that stands there may lie, the size of the list cannot: no more than that is read.
    """
    with archive.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - _LONGEST_END, 0))
        end = file.read()
    at = end.rfind(b"PK\x05\x06")
    if at < 0 or len(end) < at + 16:
        return  # zipfile says what is wrong
    n_members, n_bytes = struct.unpack("<HI", end[at + 10 : at + 16])
    at64 = end.rfind(b"PK\x06\x06", 0, at)
    if at64 >= 0 and len(end) >= at64 + 48:
        n_members, n_bytes = struct.unpack("<QQ", end[at64 + 32 : at64 + 48])
    if n_members > MOST_FILES or n_bytes > MOST_FILES * _LIST_BYTES:
        found = f"{n_members}" if n_members > MOST_FILES else f"a list of {n_bytes / 1e6:.1f} MB"
        raise _refusal(archive, f"may hold at most {MOST_FILES} files", found)


def _refusal(archive: Path, rule: str, found: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"archive {archive.name}", rule, found, "Pack the exported images again, as plain files."
    )
