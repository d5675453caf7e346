"""Races run on measured U_pp: what levels, margins and shares are worth, without sweeping anything again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pool.race_settings import LEAST_PASSING, RaceLevel

SAME_ENOUGH = 0.02
"""A winner whose U_pp is at most this share above the best is as good."""


@dataclass(frozen=True)
class RaceTrial:
    """Races on many slices against full sweeps of all members."""

    n_slices: int
    same: float
    """Share of the slices on which the same member is chosen."""
    same_or_near: float
    """The same, or one whose U_pp is at most `SAME_ENOUGH` above."""
    greatest_excess: float
    """Of the chosen member's U_pp over the least one, as a share."""
    times_fewer: float
    """Patch passes of full sweeps over those of the races, all slices together."""
    least_times_fewer: float
    """The same of the slice where least was saved."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)

    def in_words(self) -> str:
        """One line."""
        return (
            f"{self.n_slices} slices: {self.times_fewer:.1f} times fewer patch passes "
            f"(least {self.least_times_fewer:.1f}), same member {self.same:.1%}, "
            f"same or within {SAME_ENOUGH:.0%} {self.same_or_near:.1%}, greatest excess {self.greatest_excess:.1%}"
        )


def try_races(u_pp: np.ndarray, prefixes: Sequence[int], levels: Sequence[RaceLevel]) -> RaceTrial:
    """Run the race of every slice as `pool.race` does.

    Args:
        u_pp: `slice member prefix`; infinite for members that cannot be chosen. Slices without any other are left out.
        prefixes: numbers of patches, rising; the last is the full sweep.
        levels: of the race; their numbers of patches are among the prefixes.
    """
    u_pp = u_pp[np.isfinite(u_pp[:, :, -1]).any(axis=1)]
    n_slices, n_members, _ = u_pp.shape
    racing = np.isfinite(u_pp[:, :, -1])
    n_full, done = prefixes[-1], 0
    n_passes = np.zeros(n_slices)
    for level in levels:
        n_passes += (racing.sum(1) if done else n_members) * (level.n_patches - done)
        done = level.n_patches
        here = np.where(racing, u_pp[:, :, list(prefixes).index(level.n_patches)], np.inf)
        by_rank = np.sort(here, axis=1)
        most = max(LEAST_PASSING, int(np.ceil(level.share * n_members)))
        most = np.minimum(racing.sum(1), most)
        limit = np.minimum(by_rank[:, 0] * (1 + level.margin), by_rank[np.arange(n_slices), most - 1])
        racing &= here <= limit[:, None]
    n_passes += racing.sum(1) * (n_full - done)
    full = u_pp[:, :, -1]
    chosen, best = np.where(racing, full, np.inf).argmin(1), full.argmin(1)
    at = np.arange(n_slices)
    excess = full[at, chosen] / np.maximum(full[at, best], 1e-300) - 1
    saved = n_members * n_full / n_passes
    return RaceTrial(
        n_slices=n_slices,
        same=float((chosen == best).mean()),
        same_or_near=float((excess <= SAME_ENOUGH).mean()),
        greatest_excess=float(excess.max()),
        times_fewer=float(n_members * n_full * n_slices / n_passes.sum()),
        least_times_fewer=float(saved.min()),
    )
