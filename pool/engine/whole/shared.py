"""What the patches of whole slices share, for all rows and columns of patches at once: `pool.engine.shared` in the few
large copies and convolutions that a GPU wants. Sizes and reasons are there and in `pool.engine.sharing`.

Tensors here are `... row col channel`, contiguous, unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as nnf

from pool.engine.sharing import RINGS, side_px
from pool.engine.whole.network import BatchUNet
from pool.patches import PatchGrid


@dataclass(frozen=True, eq=False)
class _Maps:
    """What a shared level gives."""

    features: torch.Tensor
    skip: torch.Tensor
    pooled: torch.Tensor


@dataclass(frozen=True, eq=False)
class Sides:
    """Left and right ends of all columns of patches, as high as the image, a level each: `slice*column row col`."""

    left: list[_Maps]
    right: list[_Maps]


class SharedRows:
    """Cuts rows of patches out of shared encoder levels.

    Args:
        network: read anew in every call.
        grid: of the patches.
        n_levels: encoder levels to share, see `n_shared_levels`.
    """

    def __init__(self, network: BatchUNet, grid: PatchGrid, n_levels: int) -> None:
        self._network, self._grid, self._n_levels = network, grid, n_levels

    def sides(self, frames: torch.Tensor) -> Sides:
        """What all rows of patches share; `frames` is `slice row col time`."""
        width_px = side_px(self._n_levels)
        ends = []
        for first_px in (0, self._grid.patch_px - width_px):
            last_px = first_px + self._grid.image_px - self._grid.patch_px + width_px
            columns = frames[:, :, first_px:last_px].unfold(2, width_px, self._grid.stride_px)
            ends.append(self._levels(columns.permute(0, 2, 1, 4, 3).flatten(0, 1)))
        return Sides(*ends)

    def logits(self, frames: torch.Tensor, sides: Sides, first_row: int, n_rows: int) -> torch.Tensor:
        """Logits of some rows of patches of every slice: `slice*row*col class patch_row patch_col`.

        Args:
            frames: `slice row col time`.
            sides: of the same frames and weights.
            first_row: index of the first row of patches.
            n_rows: how many.
        """
        patch_px, step_px = self._grid.patch_px, self._grid.stride_px
        top_px = first_row * step_px
        strips = frames[:, top_px : top_px + (n_rows - 1) * step_px + patch_px].unfold(1, patch_px, step_px)
        of_strips = self._levels(strips.permute(0, 1, 4, 2, 3).flatten(0, 1))
        skips: list[torch.Tensor] = []
        corners = self._corners_of_frames(frames, top_px, n_rows)
        for level, rings in enumerate(RINGS[: self._n_levels]):
            of_corners = self._maps(level, corners)
            at = (of_strips[level], sides.left[level], sides.right[level], of_corners)
            place = _Place(self._grid, len(frames), n_rows, level, top_px)
            skips.append(_batch(place.assemble([maps.skip for maps in at], rings.skip_px)))
            if level + 1 == self._n_levels:
                features = place.assemble([maps.features for maps in at], rings.features_px)
                return self._network.finish(level + 1, nnf.max_pool2d(_batch(features), 2), skips)
            below = _Place(self._grid, len(frames), n_rows, level + 1, top_px)
            pooled = below.assemble([maps.pooled for maps in at], RINGS[level + 1].incoming_px)
            corners = _corners(pooled, RINGS[level + 1].crop_px)
        raise AssertionError("n_levels is at least 1")

    def _levels(self, x: torch.Tensor) -> list[_Maps]:
        levels = [self._maps(0, x)]
        for level in range(1, self._n_levels):
            levels.append(self._maps(level, levels[-1].pooled))
        return levels

    def _maps(self, level: int, x: torch.Tensor) -> _Maps:
        features = self._network.encode(level, x.contiguous().permute(0, 3, 1, 2))
        maps = (features, self._network.skip(level, features), nnf.max_pool2d(features, 2))
        return _Maps(*(tensor.permute(0, 2, 3, 1).contiguous() for tensor in maps))

    def _corners_of_frames(self, frames: torch.Tensor, top_px: int, n_rows: int) -> torch.Tensor:
        crop_px, step_px = RINGS[0].crop_px, self._grid.stride_px
        far_px = self._grid.patch_px - crop_px
        height_px, width_px = ((n - 1) * step_px + crop_px for n in (n_rows, self._grid.n_per_axis))
        crops = [
            frames[:, row : row + height_px, col : col + width_px]
            .unfold(1, crop_px, step_px)
            .unfold(2, crop_px, step_px)
            for row in (top_px, top_px + far_px)
            for col in (0, far_px)
        ]
        return torch.stack(crops).permute(0, 1, 2, 3, 5, 6, 4).flatten(0, 3)


@dataclass(frozen=True)
class _Place:
    """Where some rows of patches lie at one level."""

    grid: PatchGrid
    n_slices: int
    n_rows: int
    level: int
    top_px: int
    """First row of the first patches [px of level 0]."""

    def assemble(self, sources: list[torch.Tensor], ring_px: int) -> torch.Tensor:
        """Put patches together: `slice patch_row_index patch_col_index row col channel`.

        Args:
            sources: strips, left sides, right sides, corners; see `pool.engine.shared`.
            ring_px: width of what the patch's border changes, at this level.
        """
        strips, left, right, corners = sources
        n_cols, patch_px, step_px = (
            self.grid.n_per_axis,
            self.grid.patch_px >> self.level,
            self.grid.stride_px >> self.level,
        )
        by_row = strips.unflatten(0, (self.n_slices, self.n_rows))
        patches = by_row.unfold(3, patch_px, step_px).permute(0, 1, 3, 2, 5, 4).contiguous()
        near, far, inner = slice(None, ring_px), slice(-ring_px, None), slice(ring_px, -ring_px)
        inner_px = patch_px - 2 * ring_px
        first = (self.top_px >> self.level) + ring_px
        rows = slice(first, first + (self.n_rows - 1) * step_px + inner_px)
        for side, cols in ((left, near), (right, far)):
            by_column = side.unflatten(0, (self.n_slices, n_cols))[:, :, rows, cols]
            patches[:, :, :, inner, cols] = by_column.unfold(2, inner_px, step_px).permute(0, 2, 1, 5, 3, 4)
        four = corners.unflatten(0, (4, self.n_slices, self.n_rows, n_cols))
        for corner, (rows, cols) in zip(four, ((near, near), (near, far), (far, near), (far, far))):
            patches[:, :, :, rows, cols] = corner[:, :, :, rows, cols]
        return patches


def _corners(patches: torch.Tensor, crop_px: int) -> torch.Tensor:
    """Upper left, upper right, lower left, lower right crops of all patches, one after the other."""
    near, far = slice(None, crop_px), slice(-crop_px, None)
    crops = [patches[:, :, :, rows, cols] for rows in (near, far) for cols in (near, far)]
    return torch.stack(crops).flatten(0, 3)


def _batch(patches: torch.Tensor) -> torch.Tensor:
    """`patch channel row col` of what is put together."""
    return patches.flatten(0, 2).permute(0, 3, 1, 2)
