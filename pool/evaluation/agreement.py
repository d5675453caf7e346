"""How two measurements of the same quantity agree: regression, Pearson's correlation, Bland and Altman's limits.

Bland and Altman, Lancet 1986;327:307. Differences may be taken absolutely or relative to the reference; the paper's
figures S2 and S3 show them absolutely, acceptance of flow against a known truth is relative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from pool.errors import SettingsError

FEWEST_PAIRS = 3
LIMIT_SDS = 1.96
"""Limits of agreement in standard deviations: they hold 95 % of normal differences."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of a measurement with a reference."""

    n: int
    """Pairs."""
    slope: float
    """Of the regression of the measurement on the reference."""
    intercept: float
    """Of it, in the unit of the quantity."""
    pearson_r: float
    r_squared: float
    """Pearson's r squared."""
    p_value: float
    """Two-tailed, of no correlation."""
    bias: float
    """Mean of measurement minus reference, in the unit of the quantity."""
    limits: tuple[float, float]
    """95 % limits of agreement, in the unit of the quantity."""
    bias_percent: float
    """Mean of the differences relative to the reference [%]."""
    limits_percent: tuple[float, float]
    """95 % limits of agreement of relative differences [%]."""


def agreement(measured: np.ndarray, reference: np.ndarray) -> Agreement:
    """Compare pairs.

    Args:
        measured, reference: `pair`, finite; the reference positive, as relative differences need.

    Raises:
        SettingsError: fewer than three pairs, unequal numbers, values that are not finite, or a reference that does
            not vary or is not positive.
    """
    measured, reference = np.asarray(measured, dtype=float), np.asarray(reference, dtype=float)
    if measured.shape != reference.shape or measured.ndim != 1 or len(measured) < FEWEST_PAIRS:
        raise SettingsError(
            "agreement", f"needs at least {FEWEST_PAIRS} pairs", f"{measured.shape} and {reference.shape}"
        )
    if not (np.isfinite(measured).all() and np.isfinite(reference).all() and (reference > 0).all()):
        raise SettingsError("agreement", "needs finite values and a positive reference", "others", "Leave them out.")
    if np.ptp(reference) == 0 or np.ptp(measured) == 0:
        raise SettingsError("agreement", "needs values that vary", "all equal")
    line = stats.linregress(reference, measured)
    difference = measured - reference
    relative = 100 * difference / reference
    return Agreement(
        n=len(measured),
        slope=float(line.slope),
        intercept=float(line.intercept),
        pearson_r=float(line.rvalue),
        r_squared=float(line.rvalue**2),
        p_value=float(line.pvalue),
        bias=float(difference.mean()),
        limits=_limits(difference),
        bias_percent=float(relative.mean()),
        limits_percent=_limits(relative),
    )


def _limits(differences: np.ndarray) -> tuple[float, float]:
    mean, half = float(differences.mean()), LIMIT_SDS * float(differences.std(ddof=1))
    return mean - half, mean + half
