"""Parts of a segment, each with a flow of its own.

The residue of tissue in which flows differ is a mixture, no Fermi function, and falls faster at first than that of its
mean flow would: a segment that a defect's border crosses comes out up to a third too low. So a segment's flow is the
mean of the flows of its parts, weighted with their pixels. Parts are chosen by place alone; choosing them by brightness
would choose noise.
"""

from __future__ import annotations

import numpy as np

from pool.perfusion.regions import SliceRegions
from pool.shapes import Mask

FEWEST_PART_PX = 8
"""Pixels of a part, about; smaller segments have two parts, an inner and an outer one, or one."""


def parts_of(segment: Mask, regions: SliceRegions, spacing_mm: tuple[float, float]) -> list[Mask]:
    """Quarters of a segment: both halves of its angle, each in an inner and an outer half of the same size.

    Args:
        segment: pixels that the segment's curve is the mean of, `row col`.
        regions: of the slice, for the centre of the LV.
        spacing_mm: between rows, between columns.

    Returns:
        Masks that are disjoint and together the segment.
    """
    rows, cols = np.nonzero(segment)
    y, x = (rows - regions.centre_px[0]) * spacing_mm[0], (cols - regions.centre_px[1]) * spacing_mm[1]
    angle = np.arctan2(y, x)
    middle = np.arctan2(np.sin(angle).mean(), np.cos(angle).mean())
    turn = np.angle(np.exp(1j * (angle - middle)))
    whole = np.arange(len(rows))
    sides = _halves(turn, whole) if len(rows) >= 4 * FEWEST_PART_PX else [whole]
    radius = np.hypot(y, x)
    parts = [
        part for side in sides for part in (_halves(radius, side) if len(side) >= 2 * FEWEST_PART_PX - 1 else [side])
    ]
    masks = []
    for part in parts:
        mask = np.zeros_like(segment)
        mask[rows[part], cols[part]] = True
        masks.append(mask)
    return masks


def _halves(values: np.ndarray, which: np.ndarray) -> list[np.ndarray]:
    """The lower and the upper half of some entries by their values."""
    ordered = which[np.argsort(values[which], kind="stable")]
    return [ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]]
