"""From all frames of an upload to the one dynamic stack that is the perfusion run; the rest is left out in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from pool.dicom.asl.evidence import is_asl
from pool.dicom.asl.marks import ARTERIAL_SPIN_LABELLING, is_marked, is_named
from pool.dicom.frames import FrameRecord
from pool.dicom.groups import Group, grouped, stacked
from pool.dicom.roles import SortedSeries, assign_roles, is_run, state_of, without_twins
from pool.dicom.times import time_axis
from pool.errors import InconsistentStudyError, TooFewFramesError
from pool.run_choice import Role, RunChoice
from pool.series import LEAST_FRAMES

CLEAR_WIN = 2.5
"""The chosen stack holds at least this many times the frames of the next best one, else the user has to choose."""
ONE_RUN_REMEDY = (
    "Runs are analysed one at a time: choose one by --run stress or --run rest, say what a series is by --series "
    "NUMBER=stress, or send one run alone."
)


@dataclass(frozen=True, eq=False)
class Stack:
    """The chosen slices, in no order yet."""

    places: list[list[FrameRecord]]
    """Frames of every slice."""
    role: Role
    """Stress, rest, or perfusion where nobody says which."""
    sorting: tuple[SortedSeries, ...]
    """Every series of the upload, and what it was taken for."""
    remarks: tuple[str, ...]
    """What the run is, and what was left out, and why."""


@dataclass(frozen=True)
class StudyContent:
    """What an upload holds."""

    series: tuple[SortedSeries, ...]
    """Every series, and what it was taken for."""
    runs: tuple[RunChoice, ...]
    """A choice for every run that is about as good as the best one, in order of time."""
    roles: tuple[Role, ...]
    """Stress, rest or perfusion, by run."""
    files: tuple[tuple[str, ...], ...]
    """Paths of the files of every run, sorted."""


def choose_stack(records: Sequence[FrameRecord], choice: RunChoice) -> Stack:
    """The dynamic stack among all frames, all of which have their geometry.

    A series is dynamic where some slice has at least 8 frames whose times span 2 s. Dynamic series of one role on one
    grid, at places of their own and overlapping in time, make a stack (scanners write one series a slice, or one for
    all). A motion-corrected twin takes the place of its original, unless the choice says otherwise. Of several stacks
    the choice picks one; without a word of it the stack with the most frames wins if it wins clearly.

    Raises:
        TooFewFramesError: no place with enough frames.
        InconsistentStudyError: frames without times, no such run, or two stacks about equally good.
    """
    groups, stacks = _stacks(records, choice)
    wanted = [stack for stack in stacks if choice.run in ("", stack[0].role)]
    if not wanted:
        number = stacks[0][0].first.series_number
        raise InconsistentStudyError(
            "study",
            f"must hold a run at {choice.run}",
            " and ".join(_in_words(stack) for stack in stacks),
            f"Say what a series is, e.g. --series {number}={choice.run}.",
        )
    chosen = list(_winner(wanted))
    short = [g for g in groups if 2 <= g.n_frames < LEAST_FRAMES and g.role is not Role.PROTON_DENSITY]
    chosen += [group for group in short if all(group.belongs(member) for member in chosen)]
    said = [f"{chosen[0].role} run: {chosen[0].reason}"] if chosen[0].role is not Role.PERFUSION else []
    return Stack(
        [place for group in chosen for place in group.places],
        chosen[0].role,
        tuple(SortedSeries.of(group) for group in groups),
        (*said, *_left_out(records, groups, chosen)),
    )


def study_content(records: Sequence[FrameRecord], choice: RunChoice) -> StudyContent:
    """Every series with what it was taken for, and the runs that could be analysed.

    Raises:
        TooFewFramesError, InconsistentStudyError: no run at all, as `choose_stack`.
    """
    groups, stacks = _stacks(records, choice)
    good = [stack for stack in stacks if _worth(stack) * CLEAR_WIN > _worth(stacks[0])]
    good.sort(key=lambda stack: min(group.clock_s or (0.0, 0.0) for group in stack))
    runs = tuple(
        RunChoice(
            roles=choice.roles,
            original=choice.original,
            n_proton_density=choice.n_proton_density,
            series_uids=tuple(sorted({group.first.series_uid for group in stack})),
        )
        for stack in good
    )
    return StudyContent(
        tuple(SortedSeries.of(group) for group in groups),
        runs,
        tuple(stack[0].role for stack in good),
        tuple(tuple(sorted({str(r.path) for r in records if r.series_uid in run.series_uids})) for run in runs),
    )


def holds_run(records: Sequence[FrameRecord], choice: RunChoice) -> bool:
    """Whether there is a first pass among the frames."""
    try:
        return bool(records) and bool(_stacks(records, choice)[1])
    except (TooFewFramesError, InconsistentStudyError):
        return False


def named_first_passes(records: Sequence[FrameRecord]) -> list[FrameRecord]:
    """Those of the frames that a word alone calls ASL, though they have the times of a first pass."""
    named = [record for record in records if is_named(record) and not is_marked(record)]
    if not named:
        return []
    groups = _groups(named)
    try:
        dynamic = _dynamic(groups)
    except (TooFewFramesError, InconsistentStudyError):
        return []
    return [record for group in dynamic if not is_asl(group, groups) for record in group.records]


def _stacks(records: Sequence[FrameRecord], choice: RunChoice) -> tuple[list[Group], list[list[Group]]]:
    """All groups with their roles, and the stacks of those that may be analysed, the best first."""
    groups = _groups(records)
    dynamic = _dynamic(groups)
    assign_roles(groups, dynamic, choice)
    runs = [group for group in dynamic if is_run(group)]
    if not runs:  # what is named AIF alone, with nothing beside it
        runs = [g for g in dynamic if g.first.series_number not in choice.roles and not is_asl(g, groups)]
        for group in runs:
            group.role, group.reason = state_of(group.first)
    if not runs and all(is_asl(group, groups) for group in dynamic):
        raise InconsistentStudyError(
            "study", "must hold a perfusion run", f"{ARTERIAL_SPIN_LABELLING} alone", "Use `python -m pool asl`."
        )
    if not runs:
        raise InconsistentStudyError(
            "study", "must hold a perfusion run", "none but what the user called something else", "Check --series."
        )
    return groups, sorted(stacked(without_twins(runs, choice.original)), key=_worth, reverse=True)


def _groups(records: Sequence[FrameRecord]) -> list[Group]:
    """By series, or across series where no series is long."""
    groups = grouped(_magnitude(records), per_series=True)
    return groups if any(group.is_long for group in groups) else grouped(_magnitude(records), per_series=False)


def _dynamic(groups: Sequence[Group]) -> list[Group]:
    many = [group for group in groups if group.is_long]
    if not many:
        raise TooFewFramesError(
            "series",
            f"a first pass needs at least {LEAST_FRAMES} frames of the same slice",
            f"{max(group.n_frames for group in groups)} at most",
            "Was the export cut, or are these localisers?",
        )
    timed = [(group, time_axis([p for p in group.places if len(p) >= LEAST_FRAMES])) for group in many]
    dynamic = [group for group, axis in timed if not isinstance(axis, str)]
    if not dynamic:
        raise InconsistentStudyError(
            "series",
            "frames need a time tag that differs from frame to frame and spans the seconds of a first pass",
            str(timed[0][1]),
            "Is this a cine, or did an anonymiser remove the times?",
        )
    return dynamic


def _magnitude(records: Sequence[FrameRecord]) -> list[FrameRecord]:
    return [record for record in records if record.component == "M"] or list(records)


def _winner(stacks: list[list[Group]]) -> list[Group]:
    best = stacks[0]
    for other in stacks[1:]:
        tangled = len(best) > 1 and any(a.shares_place(b) and a.same_run(b) for a in best for b in other)
        if tangled or _worth(other) * CLEAR_WIN > _worth(best):
            raise InconsistentStudyError(
                "study",
                "must hold one perfusion run",
                f"{len(stacks)} dynamic stacks: {' and '.join(_in_words(stack) for stack in stacks)}",
                ONE_RUN_REMEDY,
            )
    return best


def _worth(stack: Sequence[Group]) -> float:
    counts = [len(place) for group in stack for place in group.places]
    return len(counts) * float(median(counts))


def _in_words(stack: Sequence[Group]) -> str:
    n_slices = sum(len(group.places) for group in stack)
    numbers = ", ".join(sorted({group.first.series_number for group in stack}))
    plural = "s" if n_slices > 1 else ""
    role = "" if stack[0].role is Role.PERFUSION else f"{stack[0].role}, "
    return f"{role}{n_slices} slice{plural} of {max(g.n_frames for g in stack)} frames (series {numbers})"


def _left_out(records: Sequence[FrameRecord], groups: Sequence[Group], chosen: Sequence[Group]) -> tuple[str, ...]:
    why = {id(record): f"{group.role}, {group.reason}" for group in groups for record in group.records}
    kept = {id(record) for group in chosen for record in group.records}
    counts: dict[tuple[str, str, str], int] = {}
    for record in records:
        if id(record) not in kept:
            reason = why.get(id(record), "no magnitude images")
            key = (record.series_number, record.series_uid, reason)
            counts[key] = counts.get(key, 0) + 1
    return tuple(
        f"left out {n} frame{'s' if n > 1 else ''} of series {number}: {reason}"
        for (number, _, reason), n in sorted(counts.items())
    )
