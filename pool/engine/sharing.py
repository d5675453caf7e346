"""Which numbers of neighbouring patches are the same, level by level of a U-Net's encoder: sizes only, no tensors.

Two patches that both see a pixel compute the same features for it, unless its receptive field reaches over the border
of one of them, into that one's zero padding. With two 3 x 3 convolutions a level and one more for the skip connection:

| level | changed by the border: features | and skip | shared by all patches at even offsets      |
|-------|---------------------------------|----------|--------------------------------------------|
| 0     | 2 px                            | 3 px     | yes, also at odd ones                      |
| 1     | 3 px                            | 4 px     | yes: their poolings fall on the same pairs |
| 2     | 4 px                            | 5 px     | every second: two poolings to an axis      |

Pixels changed by one border only are shared too: by a row of patches those near the upper and lower border, by a column
those near the left and right one. What is left to each patch are its four corners. At level 2 of a 64 px patch the
corners are 56 % of it, and there are four times two kinds of strips: too little to gain, so levels 0 and 1 are shared.
"""

from __future__ import annotations

from dataclasses import dataclass

from pool.patches import PatchGrid


@dataclass(frozen=True)
class Rings:
    """How far a patch's border reaches into its features at one level, in that level's pixels."""

    incoming_px: int
    """Into the level's input."""
    features_px: int
    """Into the output of its two convolutions."""
    skip_px: int
    """Into the skip half of the decoder's convolution."""
    crop_px: int
    """Side of the smallest corner crop whose features and skip are right as far as the rings reach: a crop's inner
    borders spoil as many pixels as the patch's own."""


RINGS = (Rings(0, 2, 3, 6), Rings(1, 3, 4, 7))
"""Of the levels that are shared."""

LEAST_PER_AXIS = 9
"""Patches of one row below which sharing is no gain: measured on a processor with AVX-512, 3.3 instead of 2.6 ms a
patch with 5 in a row, 2.6 either way with 9, 2.3 instead of 2.7 with 15, 1.9 instead of 2.7 with 33."""


@dataclass(frozen=True)
class Region:
    """Pixels, at one level, that the three kinds of shared regions hold, counted as they are computed."""

    n_strip_px: int
    """Rows of patches, as wide as the image."""
    n_side_px: int
    """Left and right ends of all columns of patches, as high as the image."""
    n_corner_px: int
    """Four corners of one patch."""


def side_px(n_levels: int) -> int:
    """Width at level 0 of the left and right ends, so that the rings of all shared levels are right."""
    return RINGS[0].crop_px if n_levels == 1 else 2 * RINGS[1].crop_px + 2


def n_shared_levels(grid: PatchGrid, n_poolings: int) -> int:
    """How many encoder levels patches of this grid share; 0 where none is worth it.

    Args:
        grid: of the patches.
        n_poolings: of the network.
    """
    if grid.n_per_axis < LEAST_PER_AXIS:
        return 0
    if grid.patch_px >= 2 * side_px(2) and n_poolings >= 2 and grid.stride_px % 2 == 0:
        return 2
    return 1 if grid.patch_px >= 2 * side_px(1) else 0


def regions(grid: PatchGrid, n_levels: int, level: int) -> Region:
    """Pixels computed at a shared level for all patches of a grid."""
    image_px, patch_px, width_px = (n >> level for n in (grid.image_px, grid.patch_px, side_px(n_levels)))
    return Region(
        n_strip_px=grid.n_per_axis * patch_px * image_px,
        n_side_px=grid.n_per_axis * 2 * image_px * width_px,
        n_corner_px=4 * RINGS[level].crop_px ** 2,
    )
