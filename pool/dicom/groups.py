"""Frames of one series on one grid, and which of them may be slices of one run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pool.dicom.frames import FrameRecord
from pool.dicom.geometry import by_place, same_grid, same_place
from pool.dicom.times import DAY_S
from pool.run_choice import Role
from pool.series import LEAST_FRAMES

SAME_RUN_S = 60.0
"""Series of one run overlap in time; those that start more than this after another one ended belong to another run."""


@dataclass(eq=False)
class Group:
    """Frames of one series on one grid with one echo time."""

    records: list[FrameRecord]
    """In the scanner's order."""
    role: Role = Role.OTHER
    """What it was taken for."""
    motion_corrected: bool = False
    """Whether the scanner registered its images."""
    reason: str = ""
    """Why it was taken for that."""
    places: list[list[FrameRecord]] = field(init=False)
    """Frames by slice."""

    def __post_init__(self) -> None:
        self.places = by_place(self.records)

    @property
    def first(self) -> FrameRecord:
        """A frame that stands for all."""
        return self.records[0]

    @property
    def n_frames(self) -> int:
        """Most frames of one place."""
        return max(len(place) for place in self.places)

    @property
    def is_long(self) -> bool:
        """Whether some place has enough frames for a first pass."""
        return self.n_frames >= LEAST_FRAMES

    @property
    def clock_s(self) -> tuple[float, float] | None:
        """First and last time of day [s]; None where no tag says."""
        clocks = [clock for record in self.records if (clock := record.clock_s) is not None]
        return (min(clocks), max(clocks)) if clocks else None

    def shares_place(self, other: Group) -> bool:
        """Whether both show some slice."""
        return any(same_place(one[0], two[0]) for one in self.places for two in other.places)

    def same_run(self, other: Group) -> bool:
        """Whether both may have been taken in one run; True where no tag says."""
        mine, theirs = self.clock_s, other.clock_s
        if mine is None or theirs is None:
            return True
        gap = max(mine[0], theirs[0]) - min(mine[1], theirs[1])
        if gap > DAY_S / 2 and max(mine[1], theirs[1]) < DAY_S:  # one before midnight, one after
            gap = min(mine[0], theirs[0]) + DAY_S - max(mine[1], theirs[1])
        return gap <= SAME_RUN_S

    def belongs(self, member: Group) -> bool:
        """Whether this may be a further slice, or further slices, of the stack that `member` is part of."""
        return same_grid(self.first, member.first) and not self.shares_place(member) and self.same_run(member)


def grouped(records: Iterable[FrameRecord], per_series: bool) -> list[Group]:
    """Frames gathered by series (if asked), echo time and grid."""
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
    return [Group(home) for home in gathered]


def stacked(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups of one role joined to stacks; a stack has every place once."""
    stacks: list[list[Group]] = []
    for group in sorted(groups, key=lambda g: (-len(g.places), g.clock_s or (0.0, 0.0), g.first.series_uid)):
        alike = [s for s in stacks if (s[0].role, s[0].motion_corrected) == (group.role, group.motion_corrected)]
        home = next((stack for stack in alike if all(group.belongs(member) for member in stack)), None)
        if home is None:
            stacks.append([group])
        else:
            home.append(group)
    return stacks
