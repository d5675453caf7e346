"""From all frames of an upload to the one dynamic stack that is the perfusion run; the rest is left out in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from pool.dicom.frames import FrameRecord
from pool.dicom.geometry import by_place, same_grid, same_place
from pool.dicom.times import DAY_S, time_axis
from pool.errors import InconsistentStudyError, TooFewFramesError
from pool.series import LEAST_FRAMES

CLEAR_WIN = 2.5
"""The chosen stack holds at least this many times the frames of the next best one, else the user has to choose."""
SAME_RUN_S = 60.0
"""Series of one run overlap in time; those that start more than this after another one ended belong to another run."""
ONE_RUN_REMEDY = (
    "Stress and rest, or original and motion-corrected images, are analysed one at a time: send one of them."
)


@dataclass(eq=False)
class _Group:
    """Frames of one series on one grid with one echo time."""

    records: list[FrameRecord]
    places: list[list[FrameRecord]] = field(init=False)

    def __post_init__(self) -> None:
        self.places = by_place(self.records)

    @property
    def n_frames(self) -> int:
        return max(len(place) for place in self.places)

    @property
    def clock_s(self) -> tuple[float, float] | None:
        clocks = [clock for record in self.records if (clock := record.clock_s) is not None]
        return (min(clocks), max(clocks)) if clocks else None

    def shares_place(self, other: _Group) -> bool:
        return any(same_place(one[0], two[0]) for one in self.places for two in other.places)

    def same_run(self, other: _Group) -> bool:
        mine, theirs = self.clock_s, other.clock_s
        if mine is None or theirs is None:
            return True
        gap = max(mine[0], theirs[0]) - min(mine[1], theirs[1])
        if gap > DAY_S / 2 and max(mine[1], theirs[1]) < DAY_S:  # one before midnight, one after
            gap = min(mine[0], theirs[0]) + DAY_S - max(mine[1], theirs[1])
        return gap <= SAME_RUN_S


@dataclass(frozen=True, eq=False)
class Stack:
    """The chosen slices, in no order yet."""

    places: list[list[FrameRecord]]
    """Frames of every slice."""
    remarks: tuple[str, ...]
    """What was left out."""


def choose_stack(records: Sequence[FrameRecord]) -> Stack:
    """The dynamic stack among all frames, all of which have their geometry.

    A series is dynamic where some slice has at least 8 frames whose times span 2 s. Dynamic series on one grid, at
    places of their own and overlapping in time, make a stack (scanners write one series a slice, or one for all). The
    stack with the most frames wins if it wins clearly.

    Raises:
        TooFewFramesError: no place with enough frames.
        InconsistentStudyError: frames without times, or two stacks about equally good.
    """
    magnitude = _magnitude(records)
    groups = _grouped(magnitude, per_series=True)
    if not any(group.n_frames >= LEAST_FRAMES for group in groups):
        groups = _grouped(magnitude, per_series=False)
    many = [group for group in groups if group.n_frames >= LEAST_FRAMES]
    if not many:
        raise TooFewFramesError(
            "series",
            f"a first pass needs at least {LEAST_FRAMES} frames of the same slice",
            f"{max(group.n_frames for group in groups)} at most",
            "Was the export cut, or are these localisers?",
        )
    timed = {id(group): time_axis([p for p in group.places if len(p) >= LEAST_FRAMES]) for group in many}
    dynamic = [group for group in many if not isinstance(timed[id(group)], str)]
    if not dynamic:
        raise InconsistentStudyError(
            "series",
            "frames need a time tag that differs from frame to frame and spans the seconds of a first pass",
            str(timed[id(many[0])]),
            "Is this a cine, or did an anonymiser remove the times?",
        )
    dynamic = [group for group in dynamic if not group.records[0].is_aif] or dynamic
    stacks = _stacked(dynamic)
    chosen = _winner(stacks)
    short = [group for group in groups if 2 <= group.n_frames < LEAST_FRAMES]
    chosen += [group for group in short if all(_belongs(group, member) for member in chosen)]
    kept = [place for group in chosen for place in group.places]
    return Stack(kept, _left_out(records, [record for place in kept for record in place]))


def _magnitude(records: Sequence[FrameRecord]) -> list[FrameRecord]:
    return [record for record in records if record.component == "M"] or list(records)


def _grouped(records: Iterable[FrameRecord], per_series: bool) -> list[_Group]:
    gathered: list[list[FrameRecord]] = []
    for record in records:
        for home in gathered:
            first = home[0]
            if per_series and first.series_uid != record.series_uid:
                continue
            if round(first.echo, 1) == round(record.echo, 1) and same_grid(first, record):
                home.append(record)
                break
        else:
            gathered.append([record])
    return [_Group(home) for home in gathered]


def _belongs(group: _Group, member: _Group) -> bool:
    """True where `group` may be a further slice of the stack that `member` is part of."""
    return same_grid(group.records[0], member.records[0]) and not group.shares_place(member) and group.same_run(member)


def _stacked(groups: Sequence[_Group]) -> list[list[_Group]]:
    stacks: list[list[_Group]] = []
    for group in sorted(groups, key=lambda g: (-len(g.places), g.clock_s or (0.0, 0.0), g.records[0].series_uid)):
        home = next((stack for stack in stacks if all(_belongs(group, member) for member in stack)), None)
        if home is None:
            stacks.append([group])
        else:
            home.append(group)
    return stacks


def _winner(stacks: list[list[_Group]]) -> list[_Group]:
    ranked = sorted(stacks, key=_worth, reverse=True)
    best = ranked[0]
    for other in ranked[1:]:
        tangled = len(best) > 1 and any(a.shares_place(b) and a.same_run(b) for a in best for b in other)
        if tangled or _worth(other) * CLEAR_WIN > _worth(best):
            raise InconsistentStudyError(
                "study",
                "must hold one perfusion run",
                f"{len(stacks)} dynamic stacks: {' and '.join(_in_words(stack) for stack in ranked)}",
                ONE_RUN_REMEDY,
            )
    return best


def _worth(stack: Sequence[_Group]) -> float:
    counts = [len(place) for group in stack for place in group.places]
    return len(counts) * float(median(counts))


def _in_words(stack: Sequence[_Group]) -> str:
    n_slices = sum(len(group.places) for group in stack)
    numbers = ", ".join(sorted({group.records[0].series_number for group in stack}))
    plural = "s" if n_slices > 1 else ""
    return f"{n_slices} slice{plural} of {max(g.n_frames for g in stack)} frames (series {numbers})"


def _left_out(records: Sequence[FrameRecord], kept: Sequence[FrameRecord]) -> tuple[str, ...]:
    kept_ids = {id(record) for record in kept}
    counts: dict[tuple[str, str, str], int] = {}
    for record in records:
        if id(record) not in kept_ids:
            kind = "" if record.component == "M" else " that are no magnitude images"
            key = (record.series_number, record.series_uid, kind)
            counts[key] = counts.get(key, 0) + 1
    return tuple(
        f"left out {n} frame{'s' if n > 1 else ''}{kind} of series {number}: not part of the perfusion run"
        for (number, _, kind), n in sorted(counts.items())
    )
