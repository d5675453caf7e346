"""One run of one slice among all images of arterial spin labelling; the rest is left out in words, or refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pool.dicom.asl.kinds import AslFrame
from pool.dicom.asl.marks import ARTERIAL_SPIN_LABELLING
from pool.dicom.asl.signs import COMPONENTS, component_of
from pool.dicom.frames import FrameRecord
from pool.dicom.geometry import by_place, same_grid, same_place
from pool.dicom.roles import is_motion_corrected, state_of
from pool.errors import InconsistentStudyError, UnsupportedFileError
from pool.run_choice import Role, RunChoice

_STATES = (Role.STRESS, Role.REST)


def one_run(frames: Sequence[AslFrame], choice: RunChoice) -> tuple[list[AslFrame], Role, list[str]]:
    """The frames of one run, its role, and remarks.

    A stress and a rest run are told by codes or names, as those of first passes are. Of twins the motion-corrected one
    is taken, unless the choice says otherwise; of real and magnitude images the real ones, which have their sign.

    Raises:
        InconsistentStudyError: two runs and no choice, or not the chosen one; two series of pairs.
        UnsupportedFileError: phase or imaginary images alone.
    """
    states = {id(frame): state_of(frame.record) for frame in frames}
    found = {state for state, _ in states.values() if state in _STATES}
    remarks = []
    role = Role(choice.run) if choice.run else next(iter(found), Role.PERFUSION)
    if len(found) > 1 and not choice.run:
        raise InconsistentStudyError(
            "study",
            "must hold one ASL run",
            "one at stress and one at rest",
            "Runs are analysed one at a time: choose one by --run stress or --run rest, or send one run alone.",
        )
    if choice.run and choice.run not in found:
        raise InconsistentStudyError(
            "study",
            f"must hold an ASL run at {choice.run}",
            " and ".join(sorted(found)) or "none that says stress or rest",
            "Leave --run out, or send the run alone.",
        )
    if len(found) > 1:
        kept = [frame for frame in frames if states[id(frame)][0] is role]
        remarks.append(f"left out {len(frames) - len(kept)} images of another run than {role}")
        frames = kept
    if role is not Role.PERFUSION:
        remarks.append(f"{role} run: {next(why for state, why in states.values() if state is role)}")
    frames, said = _without_twins(frames, choice.original)
    remarks += said
    frames, said = _of_one_component(frames)
    _refuse_two_runs(frames)
    return frames, role, [*remarks, *said]


def one_slice(frames: Sequence[AslFrame]) -> tuple[list[AslFrame], list[str]]:
    """Frames with a kind each that lie on one grid at one place; a baseline elsewhere is left out with a remark.

    Raises:
        InconsistentStudyError: two slices, or two grids, among control and labelled images.
    """
    pairs = [frame for frame in frames if frame.kind is not Role.BASELINE]
    first = pairs[0].record
    places = by_place([frame.record for frame in pairs])
    other = next((frame.record for frame in pairs if not same_grid(first, frame.record)), None)
    if other is not None:
        raise InconsistentStudyError(
            ARTERIAL_SPIN_LABELLING,
            "needs all images on one grid: matrix, pixel spacing, orientation",
            f"{_grid_in_words(first)} and {_grid_in_words(other)}",
            "Send one run as the scanner took it.",
        )
    if len(places) > 1:
        raise InconsistentStudyError(
            ARTERIAL_SPIN_LABELLING,
            "needs the images of one slice",
            f"{len(places)} slices",
            "Send the images of the mid short-axis slice alone.",
        )
    kept = [f for f in frames if same_grid(first, f.record) and same_place(first, f.record)]
    n_left = len(frames) - len(kept)
    return kept, [
        f"left out {n_left} baseline image{'s' if n_left > 1 else ''} of another slice or grid"
    ] if n_left else []


def _refuse_two_runs(frames: Sequence[AslFrame]) -> None:
    """Two series of several pairs each are two runs; a series a pair, one breath-hold each, is one."""
    numbers = []
    for uid in sorted({frame.record.series_uid for frame in frames}):
        mine = [frame for frame in frames if frame.record.series_uid == uid]
        counts = Counter(frame.kind for frame in mine)
        if min(counts[Role.CONTROL], counts[Role.LABELLED]) >= 2 or counts[None] >= 4:
            numbers.append(mine[0].record.series_number)
    if len(numbers) > 1:
        raise InconsistentStudyError(
            "study",
            "must hold one ASL run",
            f"{len(numbers)} series of pairs: {', '.join(numbers)}",
            f"Leave one out by --series {numbers[-1]}=other, or send one run alone.",
        )


def _grid_in_words(record: FrameRecord) -> str:
    rows, cols = record.shape
    spacing = " x ".join(f"{distance:g}" for distance in record.spacing_mm)
    return f"{rows} x {cols} pixels of {spacing} mm"


def _without_twins(frames: Sequence[AslFrame], original: bool) -> tuple[Sequence[AslFrame], list[str]]:
    corrected = [frame for frame in frames if is_motion_corrected(frame.record)]
    others = [frame for frame in frames if not is_motion_corrected(frame.record)]
    if not (_has_pairs(corrected) and _has_pairs(others)):
        return frames, []
    kept, gone = (others, corrected) if original else (corrected, others)
    baseline = [] if any(f.kind is Role.BASELINE for f in kept) else [f for f in gone if f.kind is Role.BASELINE]
    what = "motion-corrected" if original else "original"
    return [*kept, *baseline], [f"left out {len(gone) - len(baseline)} {what} images, twins of those that were taken"]


def _of_one_component(frames: Sequence[AslFrame]) -> tuple[list[AslFrame], list[str]]:
    """Real images before magnitude images; a baseline may be either, as nothing in it is negative."""
    by_component = {name: [f for f in frames if component_of(f.record) == name] for name in COMPONENTS}
    name = next((name for name in ("R", "M") if _has_pairs(by_component[name])), None)
    if name is None:
        name = next((name for name in ("R", "M") if by_component[name]), None)
    if name is None:
        raise UnsupportedFileError(
            ARTERIAL_SPIN_LABELLING,
            "needs real (phase-corrected) or magnitude images",
            "phase or imaginary images alone",
            "Send the scanner's real or magnitude images.",
        )
    kept = list(by_component[name])
    if not any(frame.kind is Role.BASELINE for frame in kept):
        kept += [frame for frame in by_component["M" if name == "R" else "R"] if frame.kind is Role.BASELINE]
    n_left = len(frames) - len(kept)
    return kept, [f"left out {n_left} images that are not {COMPONENTS[name]}"] if n_left else []


def _has_pairs(frames: Sequence[AslFrame]) -> bool:
    """Whether there is something of both kinds, or something that says nothing of its kind."""
    kinds = {frame.kind for frame in frames}
    return kinds >= {Role.CONTROL, Role.LABELLED} or None in kinds
