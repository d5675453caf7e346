"""Patches of one slice that share what their encoders repeat: each shared number is computed once, and the answers are
those of the plain sweep up to rounding.

A level's features of a patch are put together from four sources, each computed with the zero padding that the patch
itself would see (sizes: `pool.engine.sharing`):

    corner | strip | corner      strip   one convolution over a row of patches, padded above and below the row
    -------+-------+-------      side    one over the left (right) ends of a column of patches, padded on their left
    side   | strip | side                (right), as high as the image
    -------+-------+-------      corner  crops of the patch's own four corners
    corner | strip | corner

Only two things leave the shared levels: every level's skip half of the decoder's convolution, and the last one's
features, pooled; from there on each patch is computed by itself. `pool.engine.operations` counts both ways. Slice of
33 x 33 patches, GFLOP: network as written, its decoder composed (`pool.engine.unet`), and that with sharing:

    compact (width 16, 3 poolings)    351    330    224    ratio of the first to the last 1.57
    paper's (width 64, 4 poolings)   6697   6258   4959                                   1.35
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as nnf

from pool.engine.sharing import RINGS, Rings, side_px
from pool.engine.unet import FoldedUNet
from pool.shapes import FramesTensor


@dataclass(frozen=True, eq=False)
class _Level:
    """What a shared level gives: `n channel row col` each."""

    features: torch.Tensor
    skip: torch.Tensor
    pooled: torch.Tensor

    def columns(self, rings: Rings, near: bool) -> _Level:
        """The outermost columns that a patch's border changes, copied so that the rest can go."""

        def outer(tensor: torch.Tensor, n_px: int) -> torch.Tensor:
            return (tensor[..., :n_px] if near else tensor[..., -n_px:]).clone()

        return _Level(
            outer(self.features, rings.features_px),
            outer(self.skip, rings.skip_px),
            outer(self.pooled, RINGS[1].incoming_px),
        )


class SharedSlice:
    """Logits of patches of one slice. Sides are kept per column, strips of one row of patches at a time.

    Args:
        network: folded.
        frames: `1 time row col`, in the network's data type and layout.
        patch_px: rows and columns of a patch.
        n_levels: encoder levels to share, see `n_shared_levels`.
    """

    def __init__(self, network: FoldedUNet, frames: FramesTensor, patch_px: int, n_levels: int) -> None:
        self._network, self._frames, self._patch_px, self._n_levels = network, frames, patch_px, n_levels
        self._sides: dict[int, list[tuple[_Level, _Level]]] = {}
        self._strips: tuple[int, list[_Level]] | None = None

    def logits(self, row_px: int, cols_px: Sequence[int]) -> torch.Tensor:
        """Logits `patch class patch_row patch_col` of patches of one row.

        Args:
            row_px: their first row.
            cols_px: their first columns.
        """
        strips = self._strips_of(row_px)
        self._add_sides([col for col in cols_px if col not in self._sides])
        skips: list[torch.Tensor] = []
        corners = self._corners_of_frames(row_px, cols_px)
        for level, (rings, strip) in enumerate(zip(RINGS, strips)):
            corner = self._level(level, corners)
            left, right = zip(*(self._sides[col][level] for col in cols_px))
            place = _Place(row_px >> level, [col >> level for col in cols_px], self._patch_px >> level)
            skips.append(
                place.assemble(strip.skip, [x.skip for x in left], [x.skip for x in right], corner.skip, rings.skip_px)
            )
            if level + 1 == self._n_levels:
                features = place.assemble(
                    strip.features,
                    [x.features for x in left],
                    [x.features for x in right],
                    corner.features,
                    rings.features_px,
                )
                return self._network.finish(level + 1, nnf.max_pool2d(features, 2), skips)
            below = _Place(place.row_px >> 1, [col >> 1 for col in place.cols_px], place.patch_px >> 1)
            pooled = below.assemble(
                strip.pooled,
                [x.pooled for x in left],
                [x.pooled for x in right],
                corner.pooled,
                RINGS[level + 1].incoming_px,
            )
            corners = _corners(pooled, RINGS[level + 1].crop_px)
        raise AssertionError("n_levels is at least 1")

    def _level(self, level: int, x: torch.Tensor) -> _Level:
        features = self._network.encode(level, x)
        return _Level(features, self._network.skip(level, features), nnf.max_pool2d(features, 2))

    def _levels(self, x: torch.Tensor) -> list[_Level]:
        levels = [self._level(0, x)]
        for level in range(1, self._n_levels):
            levels.append(self._level(level, levels[-1].pooled))
        return levels

    def _strips_of(self, row_px: int) -> list[_Level]:
        if self._strips is None or self._strips[0] != row_px:
            strip = self._frames[:, :, row_px : row_px + self._patch_px]
            self._strips = (row_px, self._levels(strip))
        return self._strips[1]

    def _add_sides(self, cols_px: Sequence[int]) -> None:
        """Compute the ends of columns of patches, of all rows at once, and keep what their rings need."""
        width_px = side_px(self._n_levels)
        for col in cols_px:
            left, right = (
                self._levels(self._frames[..., first : first + width_px])
                for first in (col, col + self._patch_px - width_px)
            )
            self._sides[col] = [
                (of_left.columns(rings, near=True), of_right.columns(rings, near=False))
                for of_left, of_right, rings in zip(left, right, RINGS)
            ]

    def _corners_of_frames(self, row_px: int, cols_px: Sequence[int]) -> torch.Tensor:
        crop_px = RINGS[0].crop_px
        far = self._patch_px - crop_px
        return torch.cat(
            [
                self._frames[:, :, row_px + down : row_px + down + crop_px, col + right : col + right + crop_px]
                for down in (0, far)
                for right in (0, far)
                for col in cols_px
            ]
        )


@dataclass(frozen=True)
class _Place:
    """Where patches of one row lie, in pixels of one level."""

    row_px: int
    cols_px: list[int]
    patch_px: int

    def assemble(
        self,
        strip: torch.Tensor,
        left: Sequence[torch.Tensor],
        right: Sequence[torch.Tensor],
        corners: torch.Tensor,
        ring_px: int,
    ) -> torch.Tensor:
        """Put patches together: `patch channel row col`, channels fastest in memory.

        Args:
            strip: `1 channel row=patch_px col=image_px`, right but for the outer `ring_px` columns of each patch.
            left: outer columns, `1 channel row=image_px col=ring_px` a patch, right but for its outer rows.
            right: the same of the other end.
            corners: crops, `corner*patch channel row col`, corners in the order of `_corners`.
            ring_px: width of what the patch's border changes.
        """
        by_pixel = strip[0].permute(1, 2, 0)
        patches = torch.stack([by_pixel[:, col : col + self.patch_px] for col in self.cols_px]).permute(0, 3, 1, 2)
        near, far = slice(None, ring_px), slice(-ring_px, None)
        rows = slice(self.row_px + ring_px, self.row_px + self.patch_px - ring_px)
        patches[:, :, ring_px:-ring_px, near] = torch.cat([columns[:, :, rows] for columns in left])
        patches[:, :, ring_px:-ring_px, far] = torch.cat([columns[:, :, rows] for columns in right])
        four = corners.unflatten(0, (4, len(self.cols_px)))
        for corner, (rows, cols) in zip(four, ((near, near), (near, far), (far, near), (far, far))):
            patches[:, :, rows, cols] = corner[:, :, rows, cols]
        return patches


def _corners(patches: torch.Tensor, crop_px: int) -> torch.Tensor:
    """Upper left, upper right, lower left, lower right crops of all patches, one after the other."""
    near, far = slice(None, crop_px), slice(-crop_px, None)
    return torch.cat([patches[:, :, rows, cols] for rows in (near, far) for cols in (near, far)])
