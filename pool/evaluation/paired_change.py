"""How much a count changes from one network to the next over the same subjects, and how sure that is.

The interval is of the subjects alone: they are resampled with replacement, both networks seeing the same ones. What
another seed of the training would change is not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pool.errors import SettingsError

CONFIDENCE = 0.95
N_RESAMPLES = 4000


@dataclass(frozen=True)
class Change:
    """A mean difference with the 95 % interval of a bootstrap over subjects."""

    mean: float
    """Later less earlier, each subject with the same weight."""
    low: float
    high: float

    @property
    def rises(self) -> bool:
        """Whether it is above 0 beyond the noise."""
        return self.low > 0

    @property
    def falls(self) -> bool:
        """Whether it is below 0 beyond the noise."""
        return self.high < 0


def paired_change(earlier: Sequence[float], later: Sequence[float], subjects: Sequence[str], seed: int = 0) -> Change:
    """The change of a value from one network to the next.

    Images of a subject are averaged first: they are not independent.

    Args:
        earlier: of the first network, one an image.
        later: of the second, for the same images.
        subjects: of the images, at least two different ones.
        seed: of the resampling.

    Raises:
        SettingsError: lengths that differ, or a single subject.
    """
    if not len(earlier) == len(later) == len(subjects) or len(set(subjects)) < 2:
        found = f"{len(earlier)}, {len(later)} and {len(subjects)}"
        raise SettingsError("paired change", "needs two values for every image, of two subjects at least", found)
    of_subjects = means_of_subjects(np.asarray(later, dtype=float) - np.asarray(earlier, dtype=float), subjects)
    low, high = bootstrap_interval(of_subjects, seed)
    return Change(float(of_subjects.mean()), low, high)


def means_of_subjects(values: Sequence[float] | np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """Mean of each subject's values, by the subjects' sorted names."""
    ids = np.unique(np.asarray(subjects), return_inverse=True)[1]
    return np.asarray(np.bincount(ids, weights=np.asarray(values, dtype=float)) / np.bincount(ids))


def bootstrap_interval(of_subjects: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over at least two subjects."""
    found = stats.bootstrap(
        (of_subjects,),
        np.mean,
        n_resamples=N_RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
