"""How a race is run: after how many patches, and who passes. See `pool.race`."""

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
    """A stop on the way to the full sweep and who passes it: those within the margin, but no more than a share."""

    n_patches: int
    """First patches of the sweep that have been measured here, see `pool.patch_order`."""
    margin: float
    """A member passes if its U_pp over these patches is at most (1 + margin) times the least one."""
    share: float = 1.0
    """Of the pool's members, in (0, 1]: the best so many pass, ties included. It bounds the work where many are alike,
    so that whoever wins is little better than the others."""

    def limit(self, u_pp: Sequence[float], n_members: int) -> float:
        """The greatest U_pp that passes.

        Args:
            u_pp: of all members in the race, over these patches; at least one.
            n_members: of the whole pool.
        """
        by_rank = sorted(u_pp)
        most = min(len(by_rank), max(LEAST_PASSING, math.ceil(self.share * n_members)))
        return min(by_rank[0] * (1 + self.margin), by_rank[most - 1])


@dataclass(frozen=True)
class RaceSettings:
    """How a race is run.

    The margins come from full sweeps of three slices of the phantom's `exD-1` and `exD-2` by 13 to 25 members: by so
    much did the member with the least U_pp fall behind another over the first patches, and a little more. That was 22 %
    over 41 patches, 9 % over 105 and 7 % over 289.

    The shares bound 50 members to about an eighth of the exhaustive work, and are what loses: where more members are
    alike than pass, the best may be among those that leave, for one that is little worse. `python -m pool race-check`
    says what margins and shares are worth with another pool.

    Raises:
        SettingsError: no levels, levels whose patches do not rise, or a margin or share out of range.
    """

    levels: tuple[RaceLevel, ...] = (RaceLevel(41, 0.25, 0.4), RaceLevel(105, 0.1, 0.12), RaceLevel(289, 0.07, 0.06))
    """From few patches to many; the full sweep follows."""
    audit: bool = False
    """Sweep every eligible member in full after the race has ended, and record whether that would have chosen another:
    the work of the exhaustive rule, for checking. The result is that of the race."""

    def __post_init__(self) -> None:
        if not self.levels:
            raise SettingsError("race", "needs at least one level", "none")
        for before, level in zip(self.levels, self.levels[1:]):
            if level.n_patches <= before.n_patches:
                rule = f"a level's n_patches must exceed the {before.n_patches} of the level before"
                raise SettingsError("race", rule, str(level.n_patches))
        for level in self.levels:
            if not (math.isfinite(level.margin) and level.margin >= 0):
                raise SettingsError("race", "margin must be a number from 0 on", str(level.margin))
            if not 0 < level.share <= 1:
                raise SettingsError("race", "share must be above 0 and at most 1", str(level.share))

    def check_sweep(self, sweep: SweepSettings, image_px: int) -> None:
        """Refuse levels that do not fit a full sweep.

        Args:
            sweep: of the full sweep.
            image_px: rows and columns of the prepared slices.

        Raises:
            SettingsError: a first level without all patches of the mask, or a last one that is the whole sweep.
        """
        patches, remedy = sweep.patches(image_px), "Give levels that fit this sweep, or take another rule."
        first, last = self.levels[0].n_patches, self.levels[-1].n_patches
        if first < (n_mask := patches.mask_grid.n_patches):
            raise SettingsError("race", f"the first level must hold the mask's {n_mask} patches", str(first), remedy)
        if last >= patches.n_patches:
            rule = f"the last level must be less than the sweep's {patches.n_patches}"
            raise SettingsError("race", rule, str(last), remedy)
