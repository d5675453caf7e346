"""Stray pieces of a mask: specks far from the heart that no reader would call myocardium.

The paper's S-map is every pixel of at least 0.5; a network that outlines the heart well may still call a strip of the
RV's free wall or of the diaphragm myocardium. A reader, and every viewer that draws one ring, leaves such specks out,
so a mask here never has them: a departure from the paper. N_myo is counted without them, their uncertainty stays in
U_tot: a member that draws strays is not the more certain for it.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from pool.shapes import Mask

TOUCHING = np.ones((3, 3), dtype=bool)
"""Pixels touch by edges or corners."""
LARGEST_STRAY = 0.1
"""Share of the largest piece's pixels that a stray has at most; a larger one is a mistake that should be seen."""


def without_strays(mask: Mask) -> Mask:
    """The mask without pieces that are both small and wholly outside the convex hull of the largest piece.

    Arcs of a broken ring stay, however short: they lie within the hull or are no speck. No length is in the rule, so
    that it means the same on every grid.

    Args:
        mask: `row col`; it is not changed.
    """
    pieces, n_pieces = ndimage.label(mask, TOUCHING)
    if n_pieces < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    small = [i for i in range(1, n_pieces + 1) if i != largest and sizes[i] <= LARGEST_STRAY * sizes[largest]]
    if not small:
        return mask
    try:
        hull = ConvexHull(np.argwhere(pieces == largest)).equations
    except QhullError:  # a single line of pixels has no inside
        return mask
    strays = [i for i in small if not _any_inside(np.argwhere(pieces == i), hull)]
    return mask & ~np.isin(pieces, strays)


def _any_inside(pixels: np.ndarray, hull: np.ndarray) -> bool:
    return bool((pixels @ hull[:, :2].T + hull[:, 2] <= 1e-9).all(axis=1).any())
