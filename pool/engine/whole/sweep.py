"""All patches of some slices through one network after another, and the sums that a sweep needs, on one device.

Networks of one size take turns in the same tensors: a member costs the copying of its weights and one replay of a
captured step. On a processor the same code runs eagerly, for tests; `pool.engine.Engine` is faster there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch.nn import functional as nnf

from pool.engine.settings import EngineSettings
from pool.engine.sharing import n_shared_levels
from pool.engine.whole.network import BatchUNet, fused_works
from pool.engine.whole.overlap import overlap_add
from pool.engine.whole.replay import Replay
from pool.engine.whole.shared import SharedRows
from pool.engine.whole.weights import UNetWeights
from pool.networks.unet import UNet
from pool.patches import PatchGrid
from pool.shapes import MYOCARDIUM, FramesTensor

MOST_PATCHES = 1089
"""In a batch, if memory holds them: more only takes memory."""
CPU_PATCHES = 33
FREE_SHARE = 0.6
"""Of free memory that a batch may take; the rest is for workspaces and other processes."""


@dataclass(frozen=True)
class WholeSettings:
    """How whole slices are swept. Only `dtype` changes results by more than rounding."""

    dtype: str = "float32"
    """See `EngineSettings`."""
    batch_size: int | None = None
    """Most patches in a batch, of all slices together; None: as many as free memory holds, at most `MOST_PATCHES`.
    A row of patches of every slice is the least."""
    sharing: bool = True
    """Compute once what neighbouring patches repeat."""
    fused: bool = True
    """cuDNN's fused convolutions, where they work."""
    graph: bool = True
    """Capture as a CUDA graph, where there is one."""
    benchmark: bool = False
    """Let cuDNN choose algorithms by measuring: faster perhaps, but another process may choose others, whose last bits
    differ."""


class WholeSweep:
    """Sweeps slices with networks of one size. Not for several threads at once.

    Args:
        network: any of the networks, in evaluation mode, on its device.
        n_slices: how many slices at once.
        grid: of the patches.
        mask_stride_px: of the mask's patches.
        settings: see `WholeSettings`.
        groups: number of a group for every patch, int64 `patch_row_index patch_col_index`, whose sums are kept apart;
            by default all are in one.

    Raises:
        torch.OutOfMemoryError: one row of patches is too much.
    """

    def __init__(
        self,
        network: UNet,
        n_slices: int,
        grid: PatchGrid,
        mask_stride_px: int,
        settings: WholeSettings | None = None,
        groups: torch.Tensor | None = None,
    ) -> None:
        self.settings = settings or WholeSettings()
        self.grid, self.n_slices = grid, n_slices
        self.device = network.classify.weight.device
        self._dtype = EngineSettings(self.settings.dtype).torch_dtype
        self._mask_step = mask_stride_px // grid.stride_px
        self._n_classes = network.classify.out_channels
        self._weights = UNetWeights.of(network, self._dtype)
        self._network_bytes = self._bytes_of_a_patch(network.classify.in_channels)
        with self._precision():
            self.why_not_fused = fused_works(self.device, self._dtype) if self.settings.fused else "not asked for"
        self._network = BatchUNet(self._weights, fused=not self.why_not_fused)
        n_levels = n_shared_levels(grid, self._network.n_poolings) if self.settings.sharing else 0
        self._shared = SharedRows(self._network, grid, n_levels) if n_levels else None
        self._in_group: torch.Tensor | None = None
        if groups is not None:
            self._in_group = nnf.one_hot(groups).to(self.device, torch.float64)
        n_channels, image_px = self._weights.encoder[0].first.shape[1], grid.image_px
        with torch.inference_mode():
            self._frames = torch.zeros(n_slices, image_px, image_px, n_channels, dtype=self._dtype, device=self.device)
            n_groups = 1 if self._in_group is None else self._in_group.shape[-1]
            self.sums = torch.zeros(n_groups, n_slices, 2, image_px, image_px, dtype=torch.float64, device=self.device)
            """Of p(myocardium) and of its square: `group slice 2 row col`; of the last `run`."""
            self.class_sums = torch.zeros(
                n_slices, self._n_classes, image_px, image_px, dtype=torch.float64, device=self.device
            )
            """Of all probabilities over the mask's patches: `slice class row col`; of the last `run`."""
        self._rows_at_once = self._planned_rows()
        self._replay: Replay | None = None

    @property
    def how(self) -> str:
        """How it is computed, in words."""
        replay = self._replay.how if self._replay else "not run yet"
        fused = f"no fused convolutions ({self.why_not_fused})" if self.why_not_fused else "fused convolutions"
        sharing = "shared work" if self._shared else "patch by patch"
        n_patches = self._rows_at_once * self.grid.n_per_axis * self.n_slices
        return f"{self.settings.dtype}, {sharing}, {n_patches} patches a batch, {fused}, {replay}"

    @torch.inference_mode()
    def take(self, frames: Sequence[FramesTensor]) -> None:
        """The slices to sweep from now on, `time row col` each, on any device."""
        for mine, its in zip(self._frames, frames, strict=True):
            mine[..., : len(its)].copy_(its.permute(1, 2, 0), non_blocking=True)

    @torch.inference_mode()
    def run(self, weights: UNetWeights) -> None:
        """Fill the sums with those of a network.

        Args:
            weights: in the dtype of the settings; copied.

        Raises:
            torch.OutOfMemoryError: one row of patches is too much.
        """
        self._weights.copy_(weights)
        while not self._tried():
            self._rows_at_once = max(1, self._rows_at_once // 2)
            self._replay = None
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # outside the handler, whose traceback still holds the failed batch

    def _tried(self) -> bool:
        """Whether memory held the batches."""
        try:
            with self._precision():
                if self._replay is None:
                    self._replay = Replay(self._step, self.device, self.settings.graph)
                self._replay()
        except torch.OutOfMemoryError:
            if self._rows_at_once == 1:
                raise
            return False
        return True

    def _step(self) -> None:
        self.sums.zero_()
        self.class_sums.zero_()
        sides = self._shared.sides(self._frames) if self._shared else None
        n_rows, most = self.grid.n_per_axis, self._rows_at_once
        n_parts = math.ceil(n_rows / most)
        for part in range(n_parts):
            first, last = (n_rows * i // n_parts for i in (part, part + 1))
            if self._shared and sides:
                logits = self._shared.logits(self._frames, sides, first, last - first)
            else:
                logits = self._network.finish(0, self._cut(first, last - first), [])
            by_pixel = logits.permute(0, 2, 3, 1)[..., : self._n_classes].float()
            probability = torch.softmax(by_pixel, dim=-1)
            self._add(probability.unflatten(0, (self.n_slices, last - first, n_rows)), first)

    def _cut(self, first_row: int, n_rows: int) -> torch.Tensor:
        """Patches of some rows of all slices."""
        patch_px, step_px = self.grid.patch_px, self.grid.stride_px
        top_px = first_row * step_px
        rows = self._frames[:, top_px : top_px + (n_rows - 1) * step_px + patch_px].unfold(1, patch_px, step_px)
        every = rows.unfold(2, patch_px, step_px)  # slice, row and column of patches, time, row, col
        patches = every.permute(0, 1, 2, 4, 5, 3)
        return patches.reshape(-1, *patches.shape[3:]).permute(0, 3, 1, 2)

    def _add(self, probability: torch.Tensor, first_row: int) -> None:
        """Add `slice patch_row_index patch_col_index row col class`."""
        n_rows, step_px = probability.shape[1], self.grid.stride_px
        p = probability[..., MYOCARDIUM].double()
        both = torch.stack([p, p * p], dim=1)
        rows_px = slice(first_row * step_px, (first_row + n_rows - 1) * step_px + self.grid.patch_px)
        if self._in_group is None:
            self.sums[0, :, :, rows_px] += overlap_add(both, step_px)
        else:
            by_group = overlap_add(both, step_px, self._in_group[first_row : first_row + n_rows])
            self.sums[:, :, :, rows_px] += by_group.permute(4, 0, 1, 2, 3)
        every = self._mask_step
        skipped = -first_row % every
        if skipped < n_rows:
            of_mask = probability[:, skipped::every, ::every].double().permute(0, 5, 1, 2, 3, 4)
            top_px = (first_row + skipped) * step_px
            last_px = top_px + (of_mask.shape[2] - 1) * every * step_px + self.grid.patch_px
            self.class_sums[:, :, top_px:last_px] += overlap_add(of_mask, every * step_px)

    def _planned_rows(self) -> int:
        n_in_row, n_rows = self.n_slices * self.grid.n_per_axis, self.grid.n_per_axis
        wanted = self.settings.batch_size or (MOST_PATCHES if self.device.type == "cuda" else CPU_PATCHES)
        if self.device.type == "cuda":
            n_free_bytes, _ = torch.cuda.mem_get_info(self.device)
            wanted = min(wanted, int(FREE_SHARE * n_free_bytes / self._network_bytes))
        return min(n_rows, max(1, wanted // n_in_row))

    def _bytes_of_a_patch(self, width: int) -> int:
        """Alive at once, as far as it can be planned: eight of the first level's maps, and double precision sums."""
        n_maps, n_sum_bytes = 8, 2 * 3 * 8 + 4 * 8
        return self.grid.patch_px**2 * (n_maps * width * self._dtype.itemsize + n_sum_bytes)

    def _precision(self) -> AbstractContextManager[None]:
        """On a GPU, tf32 only where it was asked for, and algorithms that give the same bytes every time."""
        if self.device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(
            enabled=True,
            benchmark=self.settings.benchmark,
            deterministic=not self.settings.benchmark,
            allow_tf32=self.settings.dtype == "tf32",
        )


@torch.inference_mode()
def padded_weights(network: UNet, settings: WholeSettings) -> UNetWeights:
    """A network's weights as `WholeSweep.run` takes them."""
    return UNetWeights.of(network, EngineSettings(settings.dtype).torch_dtype)
