"""How a race is run: which grids, and who passes them. See `pool.race`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pool.errors import SettingsError
from pool.sweep import SweepSettings

LEAST_PASSING = 3
"""So many members pass whatever their share of a small pool, if the margin lets them."""


@dataclass(frozen=True)
class RaceLevel:
    """One grid of the race and who passes it: those within the margin, but no more than a share of the pool."""

    stride_px: int
    """Stride of the grid."""
    margin: float
    """A member passes if its U_pp on this grid is at most (1 + margin) times the least one."""
    share: float = 1.0
    """Of the pool's members, in (0, 1]: the best so many pass, ties included. It bounds the work where many are alike,
    so that whoever wins is little better than the others."""

    def limit(self, u_pp: Sequence[float], n_members: int) -> float:
        """The greatest U_pp that passes.

        Args:
            u_pp: of all members in the race, on this grid; at least one.
            n_members: of the whole pool.
        """
        by_rank = sorted(u_pp)
        most = min(len(by_rank), max(LEAST_PASSING, math.ceil(self.share * n_members)))
        return min(by_rank[0] * (1 + self.margin), by_rank[most - 1])


@dataclass(frozen=True)
class RaceSettings:
    """How a race is run.

    The margins: over ten full sweeps (two slices of the phantom's `exD-2`, six members of two seeds of a compact
    U-Net), the ratio of U_pp on a grid to U_pp in full differed between the members of a slice by a factor of at most
    1.07 on stride 16, 1.06 on stride 8 and 1.08 on stride 4: so far from the first place may the member with the least
    U_pp be there. The margins are 2.7, 2 and 1.3 times that.

    The shares bound 50 members to an eighth of the exhaustive work, and are what loses: where more members are alike
    than pass, the best may be among those that leave. Seen so far on one audited slice of `exD-1`: six neighbouring
    checkpoints of one seed within 6 % of each other on stride 8, the best of them fifth there, and the winner's U_pp
    3.5 % above it. `python -m deploy.race_check` says what margins and shares are worth with another pool.

    Raises:
        SettingsError: no levels, a stride that does not divide the one before, or a margin or share out of range.
    """

    levels: tuple[RaceLevel, ...] = (RaceLevel(16, 0.2, 0.4), RaceLevel(8, 0.12, 0.16), RaceLevel(4, 0.1, 0.06))
    """From coarse to fine; the full sweep follows."""
    audit: bool = False
    """Sweep every eligible member in full after the race has ended, and record whether that would have chosen another:
    the work of the exhaustive rule, for checking. The result is that of the race."""

    def __post_init__(self) -> None:
        if not self.levels:
            raise SettingsError("race", "needs at least one level", "none")
        for before, level in zip(self.levels, self.levels[1:]):
            if level.stride_px >= before.stride_px or before.stride_px % level.stride_px:
                rule = f"a level's stride_px must divide the {before.stride_px} of the level before, and be less"
                raise SettingsError("race", rule, str(level.stride_px))
        for level in self.levels:
            if not (math.isfinite(level.margin) and level.margin >= 0):
                raise SettingsError("race", "margin must be a number from 0 on", str(level.margin))
            if not 0 < level.share <= 1:
                raise SettingsError("race", "share must be above 0 and at most 1", str(level.share))

    def check_sweep(self, sweep: SweepSettings) -> None:
        """Refuse levels that do not fit a full sweep.

        Raises:
            SettingsError: a first level without the patches of the mask, or a last one that is not part of the sweep.
        """
        first, last = self.levels[0].stride_px, self.levels[-1].stride_px
        if sweep.mask_stride_px % first:
            rule = f"the first stride_px must divide the mask's {sweep.mask_stride_px}, whose patches it has to hold"
            raise SettingsError("race", rule, str(first))
        if last <= sweep.stride_px or last % sweep.stride_px:
            rule = f"the last stride_px must be a multiple of the full sweep's {sweep.stride_px}, and more"
            raise SettingsError("race", rule, str(last))
