"""How a race is run: after how many patches, and who passes. See `pool.race`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pool.errors import SettingsError
from pool.sweep import SweepSettings

LEAST_PASSING = 2
"""So many members pass whatever their share of a small pool, if the margin lets them."""


@dataclass(frozen=True)
class RaceLevel:
    """A stop on the way to the full sweep and who passes it: those within the margin, but no more than a share."""

    n_patches: int
    """First patches of the sweep that have been measured here, see `pool.patch_order`."""
    margin: float
    """Who passes has a U_pp over these patches, measured or estimated, of at most (1 + margin) times the least."""
    share: float = 1.0
    """Of the pool's members, in (0, 1]: the best so many pass, ties included. It bounds the work where many are alike,
    so that whoever wins is little better than the others."""
    of_seed: int = 0
    """So many of every seed pass beside these, within twice the margin: what they turn out to be tells of the rest of
    their seed, see `pool.race_rounds`."""

    def passing(self, log_u_pp: np.ndarray, seeds: np.ndarray, n_members: int) -> np.ndarray:
        """Who passes, bool `member`.

        Args:
            log_u_pp: of all members in the race, over these patches; at least one.
            seeds: theirs.
            n_members: of the whole pool.
        """
        by_rank = np.sort(log_u_pp)
        most = min(len(by_rank), max(LEAST_PASSING, math.ceil(self.share * n_members)))
        within = by_rank[0] + math.log1p(self.margin)
        passing = log_u_pp <= min(within, by_rank[most - 1])
        if self.of_seed:
            for seed in np.unique(seeds):
                of_seed = np.flatnonzero(seeds == seed)
                best = of_seed[np.argsort(log_u_pp[of_seed], kind="stable")[: self.of_seed]]
                passing[best] |= log_u_pp[best] <= within + math.log1p(self.margin)
        return passing


@dataclass(frozen=True)
class RaceSettings:
    """How a race is run.

    Levels and shares were chosen by trying races on U_pp measured over 17 beginnings of the sweep, with the pool that
    ships, on the slices of every second of 40 phantom hearts of `exD-1`, `exD-2` and `inD`, and tried on the others
    (`python -m pool race-check`): README's table says what came out. They bound 50 members to about an eighth of the
    exhaustive work, and are what loses: on such a slice three members lie within 2 % of the least U_pp and eight within
    5 %, while U_pp over 41 patches errs by 8 %, over 153 by 3 % and over 577 by 1 %.

    Raises:
        SettingsError: no levels, levels whose patches do not rise, or a margin or share out of range.
    """

    levels: tuple[RaceLevel, ...] = (
        RaceLevel(41, 0.35, 0.24, 2),
        RaceLevel(73, 0.22, 0.2, 1),
        RaceLevel(153, 0.13, 0.12),
        RaceLevel(289, 0.09, 0.08),
        RaceLevel(577, 0.05, 0.04),
    )
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
            if level.of_seed < 0:
                raise SettingsError("race", "of_seed must be a number from 0 on", str(level.of_seed))
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
