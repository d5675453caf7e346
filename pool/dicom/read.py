"""Read a dynamic perfusion study from DICOM files, classic or enhanced, of any vendor; refuse with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pool.dicom.frames import FrameRecord
from pool.dicom.geometry import base_to_apex, slice_geometry
from pool.dicom.headers import read_frame_records
from pool.dicom.opening import MOST_PIXELS, read_pixels
from pool.dicom.proton_density import check_left, leading_by_brightness, leading_by_header
from pool.dicom.roles import SortedSeries
from pool.dicom.scaling import value_transforms
from pool.dicom.sequence_values import sequence_values
from pool.dicom.sources import SourceFrame, identity_of
from pool.dicom.stacks import StudyContent, choose_stack, study_content
from pool.dicom.times import time_axis
from pool.errors import InconsistentStudyError, UnreadableFileError
from pool.run_choice import Role, RunChoice
from pool.series import UNCLEAR_ORDER, PerfusionSeries, SliceGeometry, names_of_slices


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
    role: Role = Role.PERFUSION
    """Stress, rest, or perfusion where nobody says which."""
    sorting: tuple[SortedSeries, ...] = ()
    """Every series of the upload, and what it was taken for."""

    @property
    def geometry(self) -> tuple[SliceGeometry, ...]:
        """Place of every slice."""
        assert self.series.geometry is not None  # DICOM always has it
        return self.series.geometry

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Between rows, between columns [mm]."""
        assert self.series.pixel_spacing_mm is not None  # as it has this
        return self.series.pixel_spacing_mm

    @property
    def grid(self) -> tuple[int, int, int]:
        """`slice row col`."""
        n_slices, _, n_rows, n_cols = self.series.frames.shape
        return n_slices, n_rows, n_cols


def read_dicom_study(files: Sequence[Path], choice: RunChoice | None = None) -> DicomStudy:
    """Read one first-pass perfusion run among `files`, in any order, side files and localisers among them.

    Series are sorted by `stacks.choose_stack`, slices from base to apex (`geometry.base_to_apex`), frames by the first
    time tag that serves (`times.time_axis`); proton-density frames that lead are left out (`proton_density`). The same
    files give the same study in whatever order they come.

    Args:
        files: DICOM files, and others, which are left out with a remark.
        choice: which run, and what the headers do not say.

    Raises:
        EmptyStudyError: no file.
        UnreadableFileError: no DICOM file, or one that is broken, cut, empty, forbidden or a bomb.
        UnsupportedFileError: no MR image among the files, or pixels in a form that cannot be decoded.
        InconsistentStudyError: two patients, studies or runs; unequal frame counts; missing geometry or times.
        TooFewFramesError: no slice with 8 frames.
        NonFiniteError: pixels that are not finite after rescaling.
    """
    choice = choice or RunChoice()
    return study_of(*chosen_records(files, choice), choice)


def study_of(records: Sequence[FrameRecord], remarks: Sequence[str], choice: RunChoice) -> DicomStudy:
    """As `read_dicom_study`, of frames whose headers are read.

    Args:
        records, remarks: as `chosen_records` gives them.
        choice: which run, and what the headers do not say.

    Raises:
        StudyError: as `read_dicom_study`.
    """
    stack = choose_stack(records, choice)
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
    frames, scaling_remark = frames_of(ordered)
    n_leading, why = _leading(ordered, frames, choice)
    times_s = np.stack(axis.times_s)[:, n_leading:]
    kept = [records[n_leading:] for records in ordered]
    row_mm, col_mm = ordered[0][0].spacing_mm
    series = PerfusionSeries(
        frames=np.ascontiguousarray(frames[:, n_leading:]),
        times_s=np.round(times_s - times_s.min(), 6),
        pixel_spacing_mm=(row_mm, col_mm),
        slice_names=names,
        geometry=tuple(slice_geometry(records[0]) for records in kept),
        remarks=(
            axis.remark,
            *filter(None, (why, scaling_remark)),
            *remarks,
            *stack.remarks,
            *warnings,
        ),
        sequence=sequence_values(kept[0][0].header),
    )
    return DicomStudy(
        series,
        tuple(tuple(record.source for record in records) for records in kept),
        identity_of(kept[0][0].header),
        kept[0][0].thickness_mm,
        tuple(warnings),
        stack.role,
        stack.sorting,
    )


def read_study_content(files: Sequence[Path], choice: RunChoice | None = None) -> StudyContent:
    """Every series among `files` with what it was taken for, and the runs that could be analysed; reads no pixels.

    Raises:
        StudyError: as `read_dicom_study`, for files that cannot be read and studies without a run.
    """
    choice = choice or RunChoice()
    return study_content(chosen_records(files, choice)[0], choice)


def chosen_records(files: Sequence[Path], choice: RunChoice) -> tuple[list[FrameRecord], list[str]]:
    """Every frame of the series that the choice does not leave out, and remarks on what is no MR image.

    Raises:
        StudyError: as `pool.dicom.headers.read_frame_records`; none of the chosen series.
    """
    records, remarks = read_frame_records(files)
    if choice.series_uids:
        records = [record for record in records if record.series_uid in choice.series_uids]
        if not records:
            raise InconsistentStudyError("study", "must hold the chosen series", "none of them")
    return records, remarks


def _leading(ordered: Sequence[Sequence[FrameRecord]], frames: np.ndarray, choice: RunChoice) -> tuple[int, str]:
    """How many frames that lead every slice are proton-density frames, and how that is known."""
    n, why = choice.n_proton_density, "as the user said"
    if n is None:
        n, why = leading_by_header(ordered), "taken with another preparation than the others"
    if not n and choice.n_proton_density is None:
        n, why = leading_by_brightness(frames), "brighter than all that follow"
    if not n:
        return 0, ""
    check_left(frames.shape[1], n)
    plural = "s that lead" if n > 1 else " that leads"
    return n, f"left out {n} proton-density frame{plural} every slice: {why}"


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


def frames_of(ordered: Sequence[Sequence[FrameRecord]]) -> tuple[np.ndarray, str]:
    """Frames `slice time row col` in one unit, float32, and a remark on it where it is not the files' own.

    Args:
        ordered: frames of one size, as many of every slice.

    Raises:
        UnreadableFileError: more than `MOST_PIXELS`, or a file whose pixels cannot be read.
    """
    n_rows, n_cols = ordered[0][0].shape
    shape = (len(ordered), len(ordered[0]), n_rows, n_cols)
    if np.prod(shape, dtype=float) > MOST_PIXELS:
        raise UnreadableFileError("study", f"may hold at most {MOST_PIXELS} pixels", f"{shape} (slice time row col)")
    frames = np.empty(shape, dtype=np.float32)
    transforms, remark = value_transforms([record for records in ordered for record in records])
    wanted: dict[Path, list[tuple[int, int, FrameRecord]]] = {}
    for s, records in enumerate(ordered):
        for t, record in enumerate(records):
            wanted.setdefault(record.path, []).append((s, t, record))
    for path, places in wanted.items():
        stored = read_pixels(path, places[0][2].header)
        for s, t, record in places:
            slope, intercept = transforms[s * shape[1] + t]
            with np.errstate(over="ignore"):  # what is not finite is refused with the series
                frames[s, t] = stored[(record.frame_number or 1) - 1].astype(np.float64) * slope + intercept
    return frames, remark
