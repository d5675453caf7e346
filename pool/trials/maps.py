"""From sums to what a member says: mask, uncertainty map, score.

    mask             mean of p over the trials >= 0.5
    uncertainty      sqrt(mean(p^2) - mean(p)^2), divided by n as everywhere here
    MCD Uncertainty  sum of the map / pixels of the mask
    Dice Uncertainty standard deviation over the trials of Dice(trial's mask, reference)

p is a trial's probability of myocardium. Source: Do et al. 2020, "Uncertainty". The first score needs no reference, the
second is what it is held against.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pool.shapes import MYOCARDIUM, Map, Mask, Probability
from pool.sweep import MASK_THRESHOLD
from pool.trials.sums import UNIT, TrialSums


@dataclass(frozen=True, eq=False)
class TrialMaps:
    """A stochastic member's answer to one image."""

    mask: Mask
    probability: Probability
    """Mean over the trials, float32 `class row col`."""
    uncertainty: Map
    """Standard deviation of the probability of myocardium, float32 in [0, 0.5]."""
    n_trials: int
    """Trials behind it: all that were asked for; a member that gives fewer has failed."""
    mcd_uncertainty: float | None
    """Sum of the map over the mask's pixels [dimensionless]; None for an empty mask."""
    dice_uncertainty: float | None = None
    """Standard deviation of the trials' Dice; None without a reference."""

    @property
    def ineligible(self) -> str:
        """Why the member cannot be believed; empty if it can."""
        return "" if self.mask.any() else "empty mask"

    @classmethod
    def of(cls, sums: TrialSums) -> TrialMaps:
        """The answer behind sums over any number of trials."""
        n = sums.n_trials
        probability = sums.p_sum * (UNIT / n)
        p_sum = sums.p_sum[MYOCARDIUM]
        mask = probability[MYOCARDIUM] >= MASK_THRESHOLD
        mean = p_sum // n  # taken out before the division, for mean(p^2) - mean(p)^2 cancels: p = mean + d
        d_sum = p_sum - n * mean
        d2_sum = sums.p2_sum - 2 * mean * p_sum + n * mean * mean  # exact: steps may wrap around 64 bits, it fits
        variance = np.maximum(d2_sum / n - (d_sum / n) ** 2, 0.0)
        uncertainty = np.sqrt(variance) * UNIT
        n_mask, dices = int(mask.sum()), sums.all_dices()
        return cls(
            mask=mask,
            probability=probability.astype(np.float32),
            uncertainty=uncertainty.astype(np.float32),
            n_trials=n,
            mcd_uncertainty=float(uncertainty.sum()) / n_mask if n_mask else None,
            dice_uncertainty=None if dices is None else float(dices.std()),
        )
