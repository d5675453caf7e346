"""Overlap of a mask with the truth."""

from __future__ import annotations

import numpy as np

from pool.errors import SettingsError
from pool.shapes import Mask


def dice(mask: Mask, truth: Mask) -> float:
    """Dice coefficient 2 |A and B| / (|A| + |B|), in [0, 1].

    Edge cases: an empty mask against a truth that is not counts 0, never as missing; two empty masks agree: 1.

    Raises:
        SettingsError: masks of different shapes.
    """
    if mask.shape != truth.shape:
        raise SettingsError("dice", "mask and truth must have the same shape", f"{mask.shape} and {truth.shape}")
    n_both = int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return 2.0 * int(np.count_nonzero(mask & truth)) / n_both if n_both else 1.0
