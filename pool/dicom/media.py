"""The images that a DICOMDIR lists (PS3.3 F.5): what a medium from another hospital is meant to hold."""

from __future__ import annotations

from pathlib import Path

from pool.dicom.opening import read_header, reading
from pool.errors import EmptyStudyError, UnreadableFileError

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
MOST_RECORDS = 100_000
"""Most records of one directory; a disc of ten examinations has 20,000."""


def media_directory_files(path: Path) -> list[Path]:
    """Files of the images that a DICOMDIR lists, in its order, each once.

    Names are looked up below the DICOMDIR's folder, in upper or lower case, as copies of discs have either.

    Raises:
        EmptyStudyError: it lists no image.
        UnreadableFileError: no DICOMDIR, or one that lists a file that is not there or lies elsewhere.
    """
    header = read_header(path)
    found: dict[Path, None] = {}
    with reading(path.name):
        if header.file_meta.get("MediaStorageSOPClassUID") != _MEDIA_DIRECTORY:
            return [path]
        records = list(header.get("DirectoryRecordSequence") or [])
        if len(records) > MOST_RECORDS:
            raise UnreadableFileError(
                f"file {path.name}", f"may list at most {MOST_RECORDS} records", str(len(records)), "Split the medium."
            )
        for record in records:
            if record.get("DirectoryRecordType") == "IMAGE" and record.get("ReferencedFileID"):
                value = record.ReferencedFileID
                found[_file_of(path, [value] if isinstance(value, str) else [str(part) for part in value])] = None
    if not found:
        raise EmptyStudyError(f"file {path.name}", "must list at least one image", "none", "Export the images again.")
    return list(found)


def _file_of(directory: Path, parts: list[str]) -> Path:
    folder = directory.parent.resolve()
    plain = all(part.strip(". ") and not set(part) & set("/\\:\0") for part in parts)
    for names in (parts, [part.lower() for part in parts]) if plain else ():
        file = folder.joinpath(*names).resolve()
        if file.is_file() and file.is_relative_to(folder):
            return file
    raise UnreadableFileError(
        f"file {directory.name}",
        "every image that it lists must lie beside it",
        "one that is not there" if plain else "one with a name that leads elsewhere",
        "Copy the whole medium, or point at the folder of the images themselves.",
    )
