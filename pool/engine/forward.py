"""A network made ready to answer patches fast: the one place that decides how they are computed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import nn

from pool.engine.batches import HalvingBatches, planned_batch
from pool.engine.folding import fold_batch_norm
from pool.engine.settings import EngineSettings
from pool.engine.shared import SharedSlice
from pool.engine.sharing import LEAST_PER_AXIS, n_shared_levels
from pool.engine.unet import FoldedUNet
from pool.networks.unet import UNet
from pool.patch_order import ScatteredPatches
from pool.patches import PatchBlock, PatchGrid
from pool.shapes import FramesTensor, LogitsBatch, PatchBatch


class Engine:
    """Probabilities of patches, equal to the network's own up to rounding (1e-5 in float32).

    A `UNet` is taken apart (`FoldedUNet`) and, on processors, its patches share what they can (`SharedSlice`); on GPUs
    sharing would cost more in launches of small kernels than it saves. Any other network runs as it is, batch
    normalisation folded. Patches are never all copied: each batch is cut from the frames into one buffer, used again
    and again. Not for several threads at once.

    Args:
        network: in evaluation mode; `patch time row col` to logits `patch class row col`. Its weights must not change
            while the engine is in use.
        settings: data type, batch size, sharing.
        like: an engine of the same network, data type and layout, whose weights, made ready, are taken over; it may be
            used meanwhile.
    """

    def __init__(self, network: nn.Module, settings: EngineSettings | None = None, like: Engine | None = None) -> None:
        self.settings = settings or EngineSettings()
        self.device = next(network.parameters()).device
        self._unet: FoldedUNet | None
        self._module: nn.Module
        if like is not None:
            self._unet, self._module = like._unet, like._module
        else:
            with torch.autocast(self.device.type, enabled=False):
                self._unet = FoldedUNet(network, self.settings) if type(network) is UNet else None
                self._module = network if self._unet else self._converted(network)
        self._batches: HalvingBatches | None = None
        self._buffer = torch.empty(0)
        self._frames: tuple[FramesTensor, FramesTensor] | None = None
        self._shared: dict[tuple[int, int], SharedSlice] = {}

    @torch.inference_mode()
    def __call__(self, patches: PatchBlock | ScatteredPatches, frames: FramesTensor) -> torch.Tensor:
        """Softmax probabilities, float32 `patch class patch_row patch_col`, of some patches row by row.

        Args:
            patches: which.
            frames: a prepared slice on the network's device. What its patches share is kept until other frames come,
                so frames must not be changed in place meanwhile.

        Raises:
            torch.OutOfMemoryError: a single patch does not fit into memory.
        """
        own_frames = self._take(frames)
        if self._batches is None:
            patch_bytes = own_frames.element_size() * len(frames) * patches.grid.patch_px**2
            self._batches = HalvingBatches(planned_batch(self.device, patch_bytes, self.settings.batch_size))
        answers: list[torch.Tensor] = []
        rows = patches.rows
        with torch.autocast(self.device.type, enabled=False), self._precision():  # the settings decide, not the caller
            shared = None
            if patches.n_patches >= LEAST_PER_AXIS * len(rows):
                shared = self._shared_slice(own_frames, patches.grid)
            if shared is not None:
                for row, cols in rows:
                    answers += self._batches.run(cols, partial(_shared_answers, shared, row))
            else:
                places = [(row, col) for row, cols in rows for col in cols]
                answers += self._batches.run(
                    places, lambda some: _softmax(self._logits(self._cut(own_frames, some, patches.grid.patch_px)))
                )
        return torch.cat(answers)

    def _take(self, frames: FramesTensor) -> FramesTensor:
        """The frames in the engine's data type, time fastest in memory; with others than before, a new slice begins."""
        if self._frames is None or self._frames[0] is not frames:
            by_pixel = frames.to(self.settings.torch_dtype).permute(1, 2, 0).contiguous()
            self._frames = (frames, by_pixel.permute(2, 0, 1))
            self._shared = {}
        return self._frames[1]

    def _shared_slice(self, frames: FramesTensor, grid: PatchGrid) -> SharedSlice | None:
        if self._unet is None or not self.settings.sharing or self.device.type != "cpu":
            return None
        n_levels = n_shared_levels(grid, self._unet.n_poolings)
        if n_levels == 0:
            return None
        key = (grid.patch_px, n_levels)
        if key not in self._shared:
            self._shared[key] = SharedSlice(self._unet, frames[None], grid.patch_px, n_levels)
        return self._shared[key]

    def _cut(self, frames: FramesTensor, places: Sequence[tuple[int, int]], patch_px: int) -> PatchBatch:
        """Patches in the reused buffer."""
        by_pixel = frames.permute(1, 2, 0)
        shape = (len(places), patch_px, patch_px, len(frames))
        if len(self._buffer) < len(places) or self._buffer.shape[1:] != shape[1:]:
            self._buffer = frames.new_empty(shape)
        views = [by_pixel[row : row + patch_px, col : col + patch_px] for row, col in places]
        return torch.stack(views, out=self._buffer[: len(places)]).permute(0, 3, 1, 2)

    def _logits(self, patches: PatchBatch) -> LogitsBatch:
        patches = patches.contiguous(memory_format=self.settings.memory_format)
        return self._unet.finish(0, patches, []) if self._unet else self._module(patches)

    def _converted(self, network: nn.Module) -> nn.Module:
        module = fold_batch_norm(network)
        if any(weight.dtype != self.settings.torch_dtype for weight in module.parameters()):
            module = copy.deepcopy(module) if module is network else module
            module.to(self.settings.torch_dtype)
        return module

    def _precision(self) -> AbstractContextManager[None]:
        """On a GPU, tf32 only where it was asked for: torch's own default would take it unasked."""
        if self.device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=self.settings.dtype == "tf32")


def _shared_answers(shared: SharedSlice, row_px: int, cols_px: Sequence[int]) -> torch.Tensor:
    return _softmax(shared.logits(row_px, cols_px))


def _softmax(logits: LogitsBatch) -> torch.Tensor:
    return torch.softmax(logits.float(), dim=1)
