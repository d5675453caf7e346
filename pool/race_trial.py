"""Races run on measured U_pp: what levels, margins and shares are worth, without sweeping anything again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pool.manifest import MemberEntry
from pool.race_rounds import LEAST_U_PP, next_members
from pool.race_settings import RaceLevel

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

    @classmethod
    def of(cls, excess: Sequence[float], n_passes: Sequence[int], n_exhaustive: int) -> RaceTrial:
        """From each slice's excess of U_pp and patch passes.

        Args:
            excess: of the chosen member's U_pp over the least one, as a share.
            n_passes: of the races.
            n_exhaustive: patch passes of full sweeps of all members of one slice.
        """
        found = np.array(excess)
        return cls(
            n_slices=len(found),
            same=float((found <= 0).mean()),
            same_or_near=float((found <= SAME_ENOUGH).mean()),
            greatest_excess=float(found.max()),
            times_fewer=float(n_exhaustive * len(found) / sum(n_passes)),
            least_times_fewer=float(n_exhaustive / max(n_passes)),
        )

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


def try_races(
    u_pp: np.ndarray, prefixes: Sequence[int], members: Sequence[MemberEntry], levels: Sequence[RaceLevel]
) -> RaceTrial:
    """Run the race of every slice as `pool.race` does.

    Args:
        u_pp: `slice member prefix`; infinite for members that cannot be chosen. Slices without any other are left out.
        prefixes: numbers of patches, rising; the last is the full sweep.
        members: in the order of `u_pp`.
        levels: of the race; their numbers of patches are among the prefixes.
    """
    at = [prefixes.index(level.n_patches) for level in levels]
    counts = np.array([*(level.n_patches for level in levels), prefixes[-1]])
    n_passes, excess = [], []
    for of_slice in u_pp:
        racing = np.isfinite(of_slice[:, -1])
        if not racing.any():
            continue
        truth = of_slice[racing][:, [*at, -1]]
        known = np.full(truth.shape, np.nan)
        entries = [entry for entry, is_racing in zip(members, racing) if is_racing]
        while (todo := next_members(known, levels, entries, len(members))) is not None:
            level, who = todo
            known[who, level] = truth[who, level]
        reached = np.isfinite(known).sum(1) - 1
        n_passes.append(counts[reached].sum() + counts[0] * (~racing).sum())
        chosen = np.nanargmin(known[:, -1])
        excess.append(truth[chosen, -1] / max(truth[:, -1].min(), LEAST_U_PP) - 1)
    return RaceTrial.of(excess, n_passes, len(members) * prefixes[-1])
