"""Headers of all MR images among the files of an upload: each instance once, one patient, one study, geometry known."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from pool.dicom.frames import CLASSIC_CLASSES, ENHANCED_CLASSES, FrameRecord, frame_records
from pool.dicom.opening import is_dicom, read_header, read_whole, reading, refuse_lost_image
from pool.errors import EmptyStudyError, InconsistentStudyError, UnreadableFileError, UnsupportedFileError
from pool.series import LEAST_FRAMES

SMALL_BYTES, MOST_KEPT_BYTES = 2**20, 2**28
"""Files up to this size are read once, pixels and all, and kept up to so much together; larger ones are read twice."""
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_UID_TAGS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


def read_frame_records(files: Sequence[Path]) -> tuple[list[FrameRecord], list[str]]:
    """Every frame of the MR images among `files` that knows its place, in the scanner's order, and remarks on the rest.

    Raises:
        EmptyStudyError: no file.
        UnreadableFileError: no DICOM file, or one that is broken, cut, empty, forbidden or a bomb.
        UnsupportedFileError: no MR image among the files.
        InconsistentStudyError: two patients or studies; missing geometry.
    """
    if not files:
        raise EmptyStudyError("study", "needs at least one file", "none", "Choose the exported images.")
    headers, remarks = _mr_headers(files)
    _refuse_mixture(headers)
    records: list[FrameRecord] = []
    for path, header in headers:
        with reading(path.name):
            records += frame_records(path, header)
    records.sort(key=lambda r: (r.series_uid, r.order, r.header.SOPInstanceUID, r.frame_number or 0))
    placed, geometry_remarks = _with_geometry(records)
    return placed, [*remarks, *geometry_remarks]


def _mr_headers(files: Sequence[Path]) -> tuple[list[tuple[Path, Dataset]], list[str]]:
    """Headers of all MR images, each instance once, and remarks about the rest."""
    images = [path for path in files if is_dicom(path)]
    side = sorted(set(files) - set(images))
    if not images:
        raise UnreadableFileError(
            "study",
            "needs at least one DICOM file",
            f"{_n_files(len(files))}, none of them DICOM",
            "Export the images from the scanner or the archive as DICOM.",
        )
    for path in side:
        refuse_lost_image(path)
    # counts alone: exports are often named after patients
    remarks = [f"left out {_n_files(len(side))} that {'is' if len(side) == 1 else 'are'} no DICOM"] if side else []
    kept: dict[str, tuple[Path, Dataset]] = {}
    others: list[str] = []
    n_twice = kept_bytes = 0
    for path in images:
        n_bytes = path.stat().st_size
        kept_bytes += n_bytes if n_bytes <= SMALL_BYTES else 0
        whole = n_bytes <= SMALL_BYTES and kept_bytes <= MOST_KEPT_BYTES
        header = read_whole(path) if whole else read_header(path)
        with reading(path.name):
            sop_class = header.get("SOPClassUID")
            if header.file_meta.get("MediaStorageSOPClassUID") == _MEDIA_DIRECTORY:
                continue
            if sop_class not in CLASSIC_CLASSES + ENHANCED_CLASSES:
                others.append(getattr(sop_class, "name", "") or "a file without a SOP class")
                continue
            for tag in _UID_TAGS:
                if not header.get(tag):
                    raise UnreadableFileError(f"file {path.name}", f"must hold {tag}", "none", "Export it again.")
        uid = str(header.SOPInstanceUID)
        if uid in kept:
            _refuse_differing_twins(path, kept[uid][0])
            n_twice += 1
            continue
        kept[uid] = (path, header)
    if not kept:
        raise UnsupportedFileError(
            "study",
            "needs MR images (MR or Enhanced MR Image Storage)",
            _listed(others) or "a media directory alone",
            "Send the scanner's original perfusion images.",
        )
    if others:
        remarks.append(f"left out files that are no MR images: {_listed(others)}")
    if n_twice:
        remarks.append(f"{_n_files(n_twice)} came twice and counted once")
    return list(kept.values()), remarks


def _refuse_differing_twins(one: Path, other: Path) -> None:
    digests = {hashlib.sha256(path.read_bytes()).digest() for path in (one, other)}
    if len(digests) > 1:
        raise InconsistentStudyError(
            f"files {other.name} and {one.name}",
            "files with the same SOP Instance UID must be the same",
            "different contents",
            "Send the original export.",
        )


def _refuse_mixture(headers: Sequence[tuple[Path, Dataset]]) -> None:
    """Never mix patients or studies; the identifiers stay out of the message."""
    patients, studies = set(), set()
    for path, header in headers:
        with reading(path.name):
            name = str(header.get("PatientName") or "").upper().strip("^ ")
            patients.add((str(header.get("PatientID") or "").strip(), name, str(header.get("PatientBirthDate") or "")))
            studies.add(str(header.StudyInstanceUID))
    if len(patients) > 1:
        raise InconsistentStudyError(
            "study", "must be of one patient", f"files of {len(patients)} patients", "Send each patient on their own."
        )
    if len(studies) > 1:
        raise InconsistentStudyError(
            "study", "must be of one examination", f"files of {len(studies)} studies", "Send each study on its own."
        )


def _with_geometry(records: Sequence[FrameRecord]) -> tuple[list[FrameRecord], list[str]]:
    """Frames that know their place; a dynamic series that does not is refused, single other images are left out."""
    placed = [record for record in records if not (record.missing_tags or record.impossible_tags)]
    lost = [record for record in records if record.missing_tags or record.impossible_tags]
    n_of_series = Counter(record.series_uid for record in records)
    placed_series = {record.series_uid for record in placed}
    for record in lost:
        if not placed or record.series_uid in placed_series or n_of_series[record.series_uid] >= LEAST_FRAMES:
            found = [f"no {tag}" for tag in record.missing_tags]
            found += [f"an impossible {tag}" for tag in record.impossible_tags]
            raise InconsistentStudyError(
                f"file {record.path.name}",
                "needs its place in the patient, which is never guessed",
                " and ".join(found),
                "Did an anonymiser change it? Send the original export.",
            )
    return placed, [f"left out {len(lost)} images without geometry"] if lost else []


def _n_files(n: int) -> str:
    return f"{n} file" if n == 1 else f"{n} files"


def _listed(names: Sequence[str]) -> str:
    counts = Counter(names)
    shown = [f"{name} ({n})" if n > 1 else name for name, n in sorted(counts.items())[:5]]
    return ", ".join(shown) + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")
