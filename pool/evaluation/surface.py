"""How far two outlines lie apart."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from pool.errors import SettingsError
from pool.shapes import Mask

PERCENTILE = 95.0


def hd95_mm(mask: Mask, truth: Mask, spacing_mm: tuple[float, float]) -> float:
    """Undirected 95th-percentile Hausdorff distance of two outlines [mm].

        HD95(A, B) = max(P95 of d(a, B) over the border of A, P95 of d(b, A) over the border of B)

    The border of a mask is its pixels with an edge-neighbour outside it (or on the image's edge): of a ring the endo-
    and the epicardial one. Percentiles interpolate linearly between pixels.

    Edge cases: one mask empty and the other not gives infinity, never NaN and never a value that is left out: a score
    must not improve where an outline is missing. Two empty masks agree: 0.

    Args:
        mask: the outline to judge.
        truth: the true one, of the same shape.
        spacing_mm: distance between rows, between columns.

    Raises:
        SettingsError: masks of different shapes.

    Source: Yalcinkaya et al. 2024, Methods, "Performance Evaluation".
    """
    if mask.shape != truth.shape:
        raise SettingsError("HD95", "mask and truth must have the same shape", f"{mask.shape} and {truth.shape}")
    if not mask.any() or not truth.any():
        return 0.0 if mask.any() == truth.any() else math.inf
    border, true_border = _border(mask), _border(truth)
    there = ndimage.distance_transform_edt(~true_border, sampling=spacing_mm)[border]
    back = ndimage.distance_transform_edt(~border, sampling=spacing_mm)[true_border]
    return float(max(np.percentile(there, PERCENTILE), np.percentile(back, PERCENTILE)))


def _border(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask)
