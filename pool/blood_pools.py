"""The blood pool of a slice, split into the cavities of the left and the right ventricle."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pool.evaluation.true_heart import TrueHeart
from pool.shapes import BLOOD_POOL, MYOCARDIUM, Mask

FARTHEST_RV_MM = 10.0
"""Between the LV and the nearest pixel of a piece of the RV; blood farther away is a vessel or an atrium [mm]."""


def split_blood_pools(myocardium: Mask, blood: Mask, spacing_mm: tuple[float, float]) -> tuple[Mask, Mask]:
    """Cavity of the LV and of the RV.

    The LV's is what the myocardium encloses, papillary muscles included; where the wall is not closed, the piece of
    blood pool nearest to its centre. The RV's is all other blood near by. Both are empty without myocardium.

    Args:
        myocardium: `row col`.
        blood: the same, both cavities and whatever else was taken for blood.
        spacing_mm: between rows, between columns.
    """
    if not myocardium.any():
        return np.zeros_like(myocardium), np.zeros_like(myocardium)
    heart = TrueHeart.from_labels(np.where(myocardium, MYOCARDIUM, np.where(blood, BLOOD_POOL, 0)), "")
    away_mm = ndimage.distance_transform_edt(~(myocardium | heart.left_pool), sampling=spacing_mm)
    pieces, n_pieces = ndimage.label(heart.right_pool, np.ones((3, 3)))
    near = [i for i in range(1, n_pieces + 1) if away_mm[pieces == i].min() <= FARTHEST_RV_MM]
    return heart.left_pool, np.isin(pieces, near)
