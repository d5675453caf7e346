"""Read a dynamic perfusion study from DICOM files, classic or enhanced, of any vendor; refuse with reasons."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from pool.dicom.frames import CLASSIC_CLASSES, ENHANCED_CLASSES, FrameRecord, frame_records
from pool.dicom.geometry import base_to_apex, slice_geometry
from pool.dicom.opening import MOST_PIXELS, is_dicom, read_header, read_pixels, reading, refuse_lost_image
from pool.dicom.sequence_values import sequence_values
from pool.dicom.sources import SourceFrame, identity_of
from pool.dicom.stacks import choose_stack
from pool.dicom.times import time_axis
from pool.errors import EmptyStudyError, InconsistentStudyError, UnreadableFileError, UnsupportedFileError
from pool.series import LEAST_FRAMES, UNCLEAR_ORDER, PerfusionSeries, names_of_slices

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_UID_TAGS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")


@dataclass(frozen=True, eq=False)
class DicomStudy:
    """A perfusion series together with what derived DICOM objects have to refer to."""

    series: PerfusionSeries
    """Frames, times and geometry; slices from base to apex."""
    sources: tuple[tuple[SourceFrame, ...], ...]
    """`slice time`: where each frame came from."""
    identity: Mapping[str, str]
    """Patient and study as text by keyword, `sources.IDENTITY_TAGS`: what derived objects inherit. Never logged."""
    thickness_mm: float | None
    """Slice thickness [mm]; None where the headers do not say."""
    warnings: tuple[str, ...]
    """Those of `series.remarks` that the user should check, for example an uncertain order of the slices."""


def read_dicom_study(files: Sequence[Path]) -> DicomStudy:
    """Read the one first-pass perfusion run among `files`, in any order, side files and localisers among them.

    Slices are ordered from base to apex (`geometry.base_to_apex`), frames by the first time tag that serves
    (`times.time_axis`). The same files give the same study in whatever order they come.

    Args:
        files: DICOM files, and others, which are left out with a remark.

    Raises:
        EmptyStudyError: no file.
        UnreadableFileError: no DICOM file, or one that is broken, cut, empty, forbidden or a bomb.
        UnsupportedFileError: no MR image among the files, or pixels in a form that cannot be decoded.
        InconsistentStudyError: two patients, studies or runs; unequal frame counts; missing geometry or times.
        TooFewFramesError: no slice with 8 frames.
        NonFiniteError: pixels that are not finite after rescaling.
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
    stack = choose_stack(placed)
    slices, clear = base_to_apex(stack.places)
    names = names_of_slices(len(slices))
    _refuse_unequal(slices, names)
    axis = time_axis(slices)
    if isinstance(axis, str):
        raise InconsistentStudyError(
            "series",
            "every slice needs frame times from one tag that differs from frame to frame and rises",
            axis,
            "Did an anonymiser remove or shift the times?",
        )
    ordered = [[records[i] for i in order] for records, order in zip(slices, axis.order, strict=True)]
    warnings: list[str] = []
    if not clear:
        warnings.append(UNCLEAR_ORDER)
    if axis.contradicts_count:
        warnings.append(f"the instance numbers contradict every time tag; frames are ordered by {axis.key}")
    row_mm, col_mm = ordered[0][0].spacing_mm
    sequence, sequence_remark = sequence_values(ordered[0][0].header)
    series = PerfusionSeries(
        frames=_frames(ordered),
        times_s=np.stack(axis.times_s),
        pixel_spacing_mm=(row_mm, col_mm),
        slice_names=names,
        geometry=tuple(slice_geometry(records[0]) for records in ordered),
        remarks=(axis.remark, sequence_remark, *remarks, *geometry_remarks, *stack.remarks, *warnings),
        sequence=sequence,
    )
    return DicomStudy(
        series,
        tuple(tuple(record.source for record in records) for records in ordered),
        identity_of(ordered[0][0].header),
        ordered[0][0].thickness_mm,
        tuple(warnings),
    )


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
    n_twice = 0
    for path in images:
        header = read_header(path)
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


def _refuse_unequal(slices: Sequence[Sequence[FrameRecord]], names: Sequence[str]) -> None:
    counts = [len(records) for records in slices]
    if len(set(counts)) == 1:
        return
    usual = Counter(counts).most_common(1)[0][0]
    odd = [i for i, n in enumerate(counts) if n != usual]
    listed = ", ".join(f"{name} {n}" for name, n in zip(names, counts, strict=True))
    raise InconsistentStudyError(
        f"slice {names[odd[0]]}",
        "every slice of a series needs the same number of frames",
        f"{counts[odd[0]]} frames, the others {usual} ({listed})",
        "Was it cut during export?",
    )


def _frames(ordered: Sequence[Sequence[FrameRecord]]) -> np.ndarray:
    n_rows, n_cols = ordered[0][0].shape
    shape = (len(ordered), len(ordered[0]), n_rows, n_cols)
    if np.prod(shape, dtype=float) > MOST_PIXELS:
        raise UnreadableFileError("study", f"may hold at most {MOST_PIXELS} pixels", f"{shape} (slice time row col)")
    frames = np.empty(shape, dtype=np.float32)
    wanted: dict[Path, list[tuple[int, int, FrameRecord]]] = {}
    for s, records in enumerate(ordered):
        for t, record in enumerate(records):
            wanted.setdefault(record.path, []).append((s, t, record))
    for path, places in wanted.items():
        stored = read_pixels(path)
        for s, t, record in places:
            frames[s, t] = stored[(record.frame_number or 1) - 1].astype(np.float64) * record.slope + record.intercept
    return frames


def _n_files(n: int) -> str:
    return f"{n} file" if n == 1 else f"{n} files"


def _listed(names: Sequence[str]) -> str:
    counts = Counter(names)
    shown = [f"{name} ({n})" if n > 1 else name for name, n in sorted(counts.items())[:5]]
    return ", ".join(shown) + (f" and {len(counts) - 5} more" if len(counts) > 5 else "")
