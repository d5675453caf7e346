"""Sums over a sweep's first patches, from which the maps follow: begun with few, refined by those that come next.

    S-map: mean of p over the mask grid             U-map: sqrt(mean(p^2) - mean(p)^2) over all patches

p is a patch's softmax probability. Patches are folded in as they come and never kept; the sums are double precision,
because mean(p^2) - mean(p)^2 cancels. A sweep that was refined step by step holds the same patches as one made at once,
summed in another order: the sums agree up to their last bits (some 1e-15 of their value), not in every bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pool.patch_order import FirstPatches, ScatteredPatches
from pool.patches import PatchBlock
from pool.shapes import MYOCARDIUM, Probability, Sums


@dataclass(frozen=True, eq=False)
class Moments:
    """What is known of one member's answer to one slice once a sweep's first patches are summed."""

    patches: FirstPatches
    """Those that are summed."""
    probability: Probability
    """Mean softmax probability over the mask's patches: final, because these come first."""
    p_sum: Sums
    """Sum of p(myocardium)."""
    p2_sum: Sums
    """Sum of its square."""

    def variance(self) -> Sums:
        """Squared U-map over the patches; 0 where one patch covers."""
        coverage = self.patches.coverage()
        mean = self.p_sum / coverage
        variance = np.maximum(self.p2_sum / coverage - mean * mean, 0.0)
        variance[coverage == 1] = 0.0  # one patch cannot disagree with itself; without this, rounding could say it does
        return variance


class MomentSums:
    """Takes patches piece by piece, in any order, until all that `start` lacks are in.

    Args:
        patches: to fill.
        device: where the probabilities will be.
        start: sums over fewer patches of the same sweep to go on from; it is left as it is.

    Raises:
        SettingsError: a start of another sweep, or one that is further on.
    """

    def __init__(self, patches: FirstPatches, device: torch.device, start: Moments | None = None) -> None:
        self._patches, self._start = patches, start
        self.missing: tuple[PatchBlock | ScatteredPatches, ...] = patches.missing(start.patches if start else None)
        """The patches to add."""
        shape = (2, patches.grid.image_px, patches.grid.image_px)
        begun = np.zeros(shape) if start is None else np.stack([start.p_sum, start.p2_sum])
        self._sums = torch.from_numpy(begun).to(device)
        self._class_sums: torch.Tensor | None = None

    def add(self, piece: PatchBlock | ScatteredPatches, probability: torch.Tensor) -> None:
        """Sum a piece's probabilities, `patch class patch_row patch_col`, patches row by row."""
        p = probability[:, MYOCARDIUM : MYOCARDIUM + 1].double()
        piece.add_to(self._sums, torch.cat([p, p * p], dim=1))
        if self._start is None and isinstance(piece, PatchBlock):
            self._add_to_mask(piece, probability)

    def _add_to_mask(self, block: PatchBlock, probability: torch.Tensor) -> None:
        every = self._patches.mask_stride_px
        rows, cols = ([i for i, px in enumerate(at) if px % every == 0] for at in (block.rows_px, block.cols_px))
        if not rows or not cols:
            return
        by_row = probability.unflatten(0, (len(block.rows_px), len(block.cols_px)))
        shared = PatchBlock(block.grid, tuple(block.rows_px[i] for i in rows), tuple(block.cols_px[i] for i in cols))
        if self._class_sums is None:
            self._class_sums = self._sums.new_zeros(probability.shape[1], *self._sums.shape[1:])
        shared.add_to(self._class_sums, by_row[rows][:, cols].flatten(0, 1).double())

    def moments(self) -> Moments:
        """The sums as a value, once all that was missing is in."""
        p_sum, p2_sum = self._sums.cpu().numpy()
        if self._start is not None:
            return Moments(self._patches, self._start.probability, p_sum, p2_sum)
        assert self._class_sums is not None  # the mask's patches come first
        coverage = torch.from_numpy(self._patches.mask_grid.coverage()).to(self._class_sums.device)
        return Moments(self._patches, (self._class_sums / coverage).float().cpu().numpy(), p_sum, p2_sum)
