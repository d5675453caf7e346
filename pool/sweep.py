"""One sweep of one network over one prepared slice: S-map, U-map, U_pp and U_tot from the same patches.

    S-map(x, y) = 1 where the mean of p over the stride-16 patches that cover (x, y) is >= 0.5
    U-map(x, y) = sqrt(mean(p^2) - mean(p)^2) over the stride-2 patches, in [0, 0.5]
    U_tot = sum(U-map^2)          U_pp = U_tot / N_myo

p is a patch's softmax probability of myocardium. Source: Yalcinkaya et al. 2024, Methods and Appendix C and G. The
published MATLAB code divides the variance by n - 1; we follow the paper's Appendix C and divide by n, so that a pixel
covered by a single patch (the corners) has U = 0 instead of NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pool.errors import SettingsError
from pool.patches import PatchGrid
from pool.shapes import MYOCARDIUM, Map, Mask, Probability, SliceFrames

MASK_THRESHOLD = 0.5
"""`>=`: MATLAB's round(0.5) is 1."""


@dataclass(frozen=True)
class SweepSettings:
    """How a slice is swept.

    Raises:
        SettingsError: strides that do not share patches, or a batch size below 1.
    """

    patch_px: int = 64
    """Rows and columns of a patch."""
    stride_px: int = 2
    """Stride of the U-map."""
    mask_stride_px: int = 16
    """Stride of the S-map; a multiple of `stride_px`, so that its patches are among the U-map's."""
    batch_size: int = 33
    """Most patches in one forward pass: speed and memory only, the maps do not depend on it beyond rounding."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SettingsError("sweep", "batch_size must be at least 1", str(self.batch_size))
        if not self.grid().contains(self.mask_grid()):
            raise SettingsError(
                "sweep", f"mask_stride_px must be a multiple of stride_px {self.stride_px}", str(self.mask_stride_px)
            )

    def grid(self, image_px: int = 128) -> PatchGrid:
        """The fine grid (U-map)."""
        return PatchGrid(image_px, self.patch_px, self.stride_px)

    def mask_grid(self, image_px: int = 128) -> PatchGrid:
        """The coarse grid (S-map), a subset of the fine one."""
        return PatchGrid(image_px, self.patch_px, self.mask_stride_px)


@dataclass(frozen=True, eq=False)
class MemberMaps:
    """What one member says about one slice."""

    mask: Mask
    """S-map: myocardium."""
    probability: Probability
    """Mean softmax probability over the stride-16 patches; `mask` is where its myocardium is >= 0.5."""
    uncertainty: Map
    """U-map: standard deviation of the myocardial probability over the stride-2 patches, in [0, 0.5]."""
    u_tot: float
    """Sum of the squared U-map; dimensionless."""
    n_myo: int
    """Myocardial pixels of `mask`."""

    @property
    def u_pp(self) -> float | None:
        """Mean per-pixel energy of the U-map; None for an empty mask, where the paper's formula divides by zero."""
        return self.u_tot / self.n_myo if self.n_myo else None


@torch.inference_mode()
def sweep(
    network: nn.Module,
    frames: SliceFrames,
    settings: SweepSettings,
    keep_going: Callable[[], bool] | None = None,
) -> MemberMaps | None:
    """Slide a network over a slice once and reduce its answers as they come; patches are never kept.

    Args:
        network: in evaluation mode; `patch time row col` to logits `patch class row col`.
        frames: a prepared slice, square, in [0, 1].
        settings: patch size, strides, batch size.
        keep_going: asked between rows of patches; False stops the sweep, which then returns None.
    """
    image_px = frames.shape[1]
    grid, mask_grid = settings.grid(image_px), settings.mask_grid(image_px)
    device = next(network.parameters()).device
    tensor = torch.from_numpy(np.ascontiguousarray(frames)).to(device)
    # Double precision: mean(p^2) - mean(p)^2 cancels, and the sum must not depend on the order of the patches.
    p_sum = torch.zeros(image_px, image_px, dtype=torch.float64, device=device)
    p2_sum = torch.zeros_like(p_sum)
    mask_sum: torch.Tensor | None = None
    every = mask_grid.stride_px // grid.stride_px

    for row in grid.offsets_px:
        if keep_going is not None and not keep_going():
            return None
        answers = [
            torch.softmax(network(batch.contiguous(memory_format=torch.channels_last)).float(), dim=1)
            for batch in grid.row_of_patches(tensor, row).split(settings.batch_size)
        ]
        probability = torch.cat(answers).double()
        rows = slice(row, row + grid.patch_px)
        p = probability[:, MYOCARDIUM : MYOCARDIUM + 1]
        strip = grid.fold_row(torch.cat([p, p * p], dim=1))
        p_sum[rows] += strip[0]
        p2_sum[rows] += strip[1]
        if row % mask_grid.stride_px == 0:
            if mask_sum is None:
                mask_sum = torch.zeros(probability.shape[1], image_px, image_px, dtype=torch.float64, device=device)
            mask_sum[:, rows] += mask_grid.fold_row(probability[::every])

    assert mask_sum is not None  # the first row of patches belongs to both grids
    coverage = torch.from_numpy(grid.coverage()).to(device)
    variance = (p2_sum / coverage - (p_sum / coverage) ** 2).clamp(min=0.0)
    variance[coverage == 1] = 0.0  # one patch cannot disagree with itself; without this, rounding could say it does
    mean = (mask_sum / torch.from_numpy(mask_grid.coverage()).to(device)).float().cpu().numpy()
    mask = mean[MYOCARDIUM] >= MASK_THRESHOLD
    return MemberMaps(
        mask=mask,
        probability=mean,
        uncertainty=variance.sqrt().float().cpu().numpy(),
        u_tot=float(variance.sum()),
        n_myo=int(mask.sum()),
    )
