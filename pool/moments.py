"""Sums over the patches of a grid, from which the maps follow: begun on a coarse grid, refined by what finer ones add.

    S-map: mean of p over the mask grid             U-map: sqrt(mean(p^2) - mean(p)^2) over all patches

p is a patch's softmax probability. Patches are folded in as they come and never kept; the sums are double precision,
because mean(p^2) - mean(p)^2 cancels. A grid that was refined step by step holds the same patches as one swept at once,
summed in another order: the sums agree up to their last bits (some 1e-15 of their value), not in every bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pool.errors import SettingsError
from pool.patches import PatchBlock, PatchGrid
from pool.shapes import MYOCARDIUM, Probability, Sums


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of one member's answer to one slice once every patch of a grid is summed."""

    grid: PatchGrid
    """Whose patches are summed; contains the mask grid."""
    probability: Probability
    """Mean softmax probability over the mask grid: final, because refining adds no patch to that grid."""
    p_sum: Sums
    """Sum of p(myocardium)."""
    p2_sum: Sums
    """Sum of its square."""

    def variance(self) -> Sums:
        """Squared U-map over the patches of `grid`; 0 where one patch covers."""
        coverage = self.grid.coverage()
        mean = self.p_sum / coverage
        variance = np.maximum(self.p2_sum / coverage - mean * mean, 0.0)
        variance[coverage == 1] = 0.0  # one patch cannot disagree with itself; without this, rounding could say it does
        return variance


class MomentSums:
    """Takes patches block by block, in any order, until all that `start` lacks are in.

    Args:
        grid: the grid to fill.
        mask_grid: the patches of the mean probability; `grid` contains it.
        device: where the probabilities will be.
        start: sums over a coarser grid to go on from; it is left as it is.

    Raises:
        SettingsError: a grid that does not contain the mask grid: a coarser one knows no mask.
    """

    def __init__(
        self, grid: PatchGrid, mask_grid: PatchGrid, device: torch.device, start: Moments | None = None
    ) -> None:
        if not grid.contains(mask_grid):
            raise SettingsError(
                "sweep", f"its grid must contain the mask grid of stride {mask_grid.stride_px}", str(grid.stride_px)
            )
        self._grid, self._mask_grid, self._start = grid, mask_grid, start
        shape = (2, grid.image_px, grid.image_px)
        begun = np.zeros(shape) if start is None else np.stack([start.p_sum, start.p2_sum])
        self._sums = torch.from_numpy(begun).to(device)
        self._class_sums: torch.Tensor | None = None

    @property
    def blocks(self) -> tuple[PatchBlock, ...]:
        """The patches to add."""
        return self._grid.blocks(None if self._start is None else self._start.grid)

    def add(self, block: PatchBlock, probability: torch.Tensor) -> None:
        """Sum a block's probabilities, `patch class patch_row patch_col`, patches row by row."""
        probability = probability.double()
        p = probability[:, MYOCARDIUM : MYOCARDIUM + 1]
        _add_strips(self._sums, block, torch.cat([p, p * p], dim=1))
        if self._start is None:
            self._add_to_mask(block, probability)

    def _add_to_mask(self, block: PatchBlock, probability: torch.Tensor) -> None:
        every = self._mask_grid.stride_px
        rows, cols = ([i for i, px in enumerate(at) if px % every == 0] for at in (block.rows_px, block.cols_px))
        if not rows or not cols:
            return
        by_row = probability.unflatten(0, (len(block.rows_px), len(block.cols_px)))
        shared = PatchBlock(
            self._mask_grid, tuple(block.rows_px[i] for i in rows), tuple(block.cols_px[i] for i in cols)
        )
        if self._class_sums is None:
            self._class_sums = probability.new_zeros(probability.shape[1], *self._sums.shape[1:])
        _add_strips(self._class_sums, shared, by_row[rows][:, cols].flatten(0, 1))

    def moments(self) -> Moments:
        """The sums as a value, once all blocks are in."""
        p_sum, p2_sum = self._sums.cpu().numpy()
        if self._start is not None:
            return Moments(self._grid, self._start.probability, p_sum, p2_sum)
        assert self._class_sums is not None  # the grid's first patch belongs to both grids
        coverage = torch.from_numpy(self._mask_grid.coverage()).to(self._class_sums.device)
        return Moments(self._grid, (self._class_sums / coverage).float().cpu().numpy(), p_sum, p2_sum)


def _add_strips(sums: torch.Tensor, block: PatchBlock, values: torch.Tensor) -> None:
    for row, strip in zip(block.rows_px, block.fold(values), strict=True):
        sums[:, row : row + block.grid.patch_px] += strip
