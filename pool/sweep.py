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

from pool.engine import Engine, EngineSettings
from pool.errors import SettingsError
from pool.moments import Moments, MomentSums
from pool.patch_order import FirstPatches, ScatteredPatches
from pool.patches import PatchBlock, PatchGrid
from pool.shapes import (
    MYOCARDIUM,
    FramesTensor,
    Map,
    Mask,
    Probability,
    SliceFrames,
)
from pool.strays import without_strays

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
    dtype: str = "float32"
    """Of the convolutions, see `pool.engine.EngineSettings`: `bfloat16` is faster where the processor has it, and may
    choose another member; `python -m pool race-check --dtypes float32,bfloat16` says how often."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise SettingsError("sweep", "batch_size must be at least 1", str(self.batch_size))
        EngineSettings(self.dtype)  # refuses unknown ones
        self.patches()  # refuses strides that share no patches

    def grid(self, image_px: int = 128) -> PatchGrid:
        """The fine grid (U-map)."""
        return PatchGrid(image_px, self.patch_px, self.stride_px)

    def patches(self, image_px: int = 128, n_patches: int | None = None) -> FirstPatches:
        """The first patches of the sweep, by default all."""
        grid = self.grid(image_px)
        return FirstPatches(grid, self.mask_stride_px, grid.n_patches if n_patches is None else n_patches)


@dataclass(frozen=True, eq=False)
class MemberMaps:
    """What one member says about one slice."""

    mask: Mask
    """S-map without strays: myocardium."""
    probability: Probability
    """Mean softmax probability over the stride-16 patches; `mask` is where its myocardium is >= 0.5, without strays."""
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


Forward = Callable[[PatchBlock | ScatteredPatches, FramesTensor], torch.Tensor]
"""What a sweep asks of a network, however it is run: softmax probabilities, float32 `patch class patch_row patch_col`,
of some patches, row by row, cut from the frames."""


def plain_forward(network: nn.Module, batch_size: int = 33) -> Forward:
    """A network in evaluation mode as it is, in its own precision, on `channels_last` batches: the reference."""

    def forward(piece: PatchBlock | ScatteredPatches, frames: FramesTensor) -> torch.Tensor:
        batches = piece.patches(frames).split(batch_size)
        logits = [network(batch.contiguous(memory_format=torch.channels_last)).float() for batch in batches]
        return torch.softmax(torch.cat(logits), dim=1)

    return forward


def engine_forward(network: nn.Module, settings: SweepSettings) -> Forward:
    """The same probabilities up to rounding, sooner: see `pool.engine`."""
    return Engine(network, EngineSettings(settings.dtype, settings.batch_size))


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
        keep_going: asked before each batch; False stops the sweep, which then returns None.
    """
    tensor = frames_on(next(network.parameters()).device, frames)
    moments = refine(engine_forward(network, settings), tensor, settings, keep_going=keep_going)
    return None if moments is None else maps_of(moments)


def frames_on(device: torch.device | str, frames: SliceFrames) -> FramesTensor:
    """A slice on a device, time running fastest in memory, so that patches are `channels_last` as they are cut out."""
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(1, 2, 0))).to(device).permute(2, 0, 1)


@torch.inference_mode()
def refine(
    forward: Forward,
    frames: FramesTensor,
    settings: SweepSettings,
    n_patches: int | None = None,
    start: Moments | None = None,
    keep_going: Callable[[], bool] | None = None,
) -> Moments | None:
    """Sweep those of a sweep's first patches that `start` lacks.

    Args:
        forward: the network.
        frames: a prepared slice on the network's device, see `frames_on`.
        settings: of the full sweep.
        n_patches: how many of its patches are wanted in total, see `pool.patch_order`; default all.
        start: what an earlier call returned for fewer patches of this slice; it is left as it is.
        keep_going: asked before each batch; False stops the sweep, which then returns None.

    Raises:
        SettingsError: fewer patches than the mask's or than those of `start`, or a `start` of another sweep.
    """
    sums = MomentSums(settings.patches(frames.shape[1], n_patches), frames.device, start)
    for piece in sums.missing:
        for part in piece.in_parts(settings.batch_size):
            if keep_going is not None and not keep_going():
                return None
            sums.add(part, forward(part, frames))
    return sums.moments()


def maps_of(moments: Moments) -> MemberMaps:
    """The maps that follow from the moments, over the patches that these are of."""
    variance = torch.from_numpy(moments.variance())
    mask = without_strays(moments.probability[MYOCARDIUM] >= MASK_THRESHOLD)
    return MemberMaps(
        mask=mask,
        probability=moments.probability,
        uncertainty=variance.sqrt().float().numpy(),
        u_tot=float(variance.sum()),
        n_myo=int(mask.sum()),
    )
