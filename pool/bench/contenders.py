"""Ways to get the moments of a slice's patches from one network; all give the same numbers, not in the same time."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import torch
from torch import nn

from pool.engine import Engine, EngineSettings
from pool.moments import MomentSums
from pool.networks import NetworkSpec, build_network
from pool.patches import PatchBlock, PatchGrid
from pool.shapes import MYOCARDIUM, FramesTensor
from pool.sweep import Forward, SweepSettings, plain_forward

ROW_BATCH = 33
MONAI = "MONAI"
MONAI_BATCHES = (8, 33)


def untrained_network(spec: NetworkSpec, device: torch.device, seed: int = 0) -> nn.Module:
    """A network to measure with, channels last: speed does not depend on the weights."""
    network = build_network(spec, torch.Generator().manual_seed(seed)).requires_grad_(False).eval().to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def patch_block(n_rows: int) -> PatchBlock:
    """The first rows of patches of a slice's fine grid; 33 are the whole sweep."""
    grid = PatchGrid()
    return PatchBlock(grid, tuple(grid.offsets_px)[:n_rows], tuple(grid.offsets_px))


def matrix_product(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], object], float]:
    """A product of square matrices, and its operations: what the machine can do at most."""
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    return (lambda: a @ b), 2.0 * size**3


def plain(network: nn.Module, frames: FramesTensor, block: PatchBlock) -> Callable[[], torch.Tensor]:
    """The network as it is, rows of 33 patches, channels last."""
    forward = plain_forward(network, ROW_BATCH)
    return lambda: _moments(forward, frames, block)


def engine(
    network: nn.Module, frames: FramesTensor, block: PatchBlock, settings: EngineSettings
) -> Callable[[], torch.Tensor]:
    """The engine, made anew in every run as a sweep makes it."""

    return lambda: _moments(Engine(network, settings), frames, block)


def monai_inferers(
    network: nn.Module, frames: FramesTensor, block: PatchBlock
) -> dict[str, Callable[[], torch.Tensor]]:
    """MONAI's SlidingWindowInferer over the same patches, returning the means of p and p^2; empty without MONAI."""
    if find_spec("monai") is None:
        return {}
    from monai.inferers import SlidingWindowInferer

    patch_px, stride_px = block.grid.patch_px, block.grid.stride_px
    image = frames[None, :, : block.rows_px[-1] + patch_px]

    def inferer(batch_size: int, memory_format: torch.memory_format) -> Callable[[], torch.Tensor]:
        slide = SlidingWindowInferer(
            (patch_px, patch_px), sw_batch_size=batch_size, overlap=1 - stride_px / patch_px, mode="constant"
        )

        def both(patches: torch.Tensor) -> torch.Tensor:
            logits = network(patches.contiguous(memory_format=memory_format))
            p = torch.softmax(logits, dim=1)[:, MYOCARDIUM : MYOCARDIUM + 1]
            return torch.cat([p, p * p], dim=1)

        @torch.inference_mode()
        def run() -> torch.Tensor:
            result = slide(image, both)
            assert isinstance(result, torch.Tensor)
            return result[0]

        return run

    return {
        f"{MONAI} {layout}, batch {batch}": inferer(batch, memory_format)
        for layout, memory_format in (("default", torch.contiguous_format), ("channels last", torch.channels_last))
        for batch in MONAI_BATCHES
    }


@torch.inference_mode()
def _moments(forward: Forward, frames: FramesTensor, block: PatchBlock) -> torch.Tensor:
    """Mean of p and p^2 over the block's patches that cover each pixel: `2 row col`."""
    sums = MomentSums(SweepSettings().patches(block.grid.image_px), frames.device)
    for part in block.in_parts(ROW_BATCH):
        sums.add(part, forward(part, frames))
    moments = sums.moments()
    coverage = np.outer(*(_coverage(offsets, block.grid) for offsets in (block.rows_px, block.cols_px)))
    covered_rows = slice(0, block.rows_px[-1] + block.grid.patch_px)
    return torch.from_numpy((np.stack([moments.p_sum, moments.p2_sum])[:, covered_rows]) / coverage[covered_rows])


def _coverage(offsets_px: tuple[int, ...], grid: PatchGrid) -> np.ndarray:
    along_axis = np.zeros(grid.image_px)
    for offset in offsets_px:
        along_axis[offset : offset + grid.patch_px] += 1
    return along_axis
