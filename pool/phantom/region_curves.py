"""Mean signal of myocardium and both cavities over time, from any labelled slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.errors import SettingsError
from pool.shapes import BLOOD_POOL, MYOCARDIUM


@dataclass(frozen=True, eq=False)
class RegionCurves:
    """Mean signals of one slice; a curve is None where the slice has no such region."""

    myocardium: np.ndarray
    """`time`."""
    left: np.ndarray | None
    """LV cavity, `time`."""
    right: np.ndarray | None
    """RV cavity, `time`."""


def region_curves(frames: np.ndarray, labels: np.ndarray) -> RegionCurves:
    """Mean signals under the labels.

    The blood pool that lies inside the myocardium's outline, or nearest to its centre, is the left one.

    Args:
        frames: `time row col`.
        labels: `row col`: 0 background, 1 myocardium, 2 blood pool.

    Raises:
        SettingsError: labels without myocardium, or of another size than the frames.
    """
    muscle = labels == MYOCARDIUM
    if labels.shape != frames.shape[1:] or not muscle.any():
        raise SettingsError("labels", "must have the frames' size and some myocardium", f"{labels.shape}")
    centre = np.argwhere(muscle).mean(axis=0)
    pools, n_pools = ndimage.label(labels == BLOOD_POOL)
    left = None
    if n_pools:
        distance = np.hypot(*(np.argwhere(pools > 0) - centre).T)
        nearest = np.argwhere(pools > 0)[int(distance.argmin())]
        left = pools == pools[tuple(nearest)]
    right = (pools > 0) & ~left if left is not None else np.zeros_like(muscle)
    return RegionCurves(
        myocardium=frames[:, muscle].mean(axis=1),
        left=None if left is None else frames[:, left].mean(axis=1),
        right=frames[:, right].mean(axis=1) if right.any() else None,
    )
