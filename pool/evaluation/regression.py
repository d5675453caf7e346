"""How one quantity follows another: regression, explained variance, and concordance where both measure the same.

For values that may be 0 or negative; `pool.evaluation.agreement` adds limits of agreement for positive ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pool.errors import SettingsError

FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Regression:
    """The regression of y on x."""

    n: int
    """Pairs."""
    slope: float
    intercept: float
    """In the unit of y."""
    r_squared: float
    """Pearson's r squared."""
    p_value: float
    """Two-tailed, of no correlation."""
    concordance: float
    """Lin's concordance correlation coefficient (Biometrics 1989;45:255), 1 where y is x; means something only if x and
    y are the same quantity."""


def regression(y: Sequence[float] | np.ndarray, x: Sequence[float] | np.ndarray) -> Regression:
    """Regress y on x.

    Concordance is `2 cov(x, y) / (var x + var y + (mean x - mean y)^2)`, divided by n as by Lin.

    Raises:
        SettingsError: fewer than three pairs, unequal numbers, values that are not finite or do not vary.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < FEWEST_PAIRS:
        raise SettingsError("regression", f"needs at least {FEWEST_PAIRS} pairs", f"{y.shape} and {x.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SettingsError("regression", "needs finite values", "others", "Leave them out.")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise SettingsError("regression", "needs values that vary", "all equal")
    line = stats.linregress(x, y)
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    concordance = 2 * covariance / (float(x.var() + y.var()) + float(x.mean() - y.mean()) ** 2)
    return Regression(
        len(x), float(line.slope), float(line.intercept), float(line.rvalue**2), float(line.pvalue), concordance
    )
