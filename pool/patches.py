"""Where the patches of a sweep lie. Knows nothing of networks or probabilities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pool.errors import SettingsError
from pool.shapes import FramesTensor, PatchBatch

Place = tuple[int, int]
"""First row and first column of a patch [px]."""


@dataclass(frozen=True)
class PatchGrid:
    """All positions of a square patch slid over a square image by a fixed stride.

    At 128 px, patches of 64 px: stride 16 gives 5 x 5 patches (the S-map), stride 2 gives 33 x 33 (the U-map).

    Raises:
        SettingsError: a stride that does not end on the last row and column, or a patch larger than the image;
            some pixels would then be covered by no patch.
    """

    image_px: int = 128
    """Rows and columns of the prepared slice."""
    patch_px: int = 64
    """Rows and columns of a patch."""
    stride_px: int = 2
    """Rows (columns) from one patch to the next."""

    def __post_init__(self) -> None:
        if not 0 < self.patch_px <= self.image_px:
            raise SettingsError("patch grid", f"patch_px must be from 1 to {self.image_px}", str(self.patch_px))
        if not 0 < self.stride_px <= self.patch_px:
            raise SettingsError(
                "patch grid", f"stride_px must be from 1 to the patch size {self.patch_px}", str(self.stride_px)
            )
        if (self.image_px - self.patch_px) % self.stride_px:
            raise SettingsError(
                "patch grid",
                f"stride_px must divide {self.image_px} - {self.patch_px}, or the last pixels stay uncovered",
                str(self.stride_px),
            )

    @property
    def n_per_axis(self) -> int:
        """Patch positions along one axis."""
        return (self.image_px - self.patch_px) // self.stride_px + 1

    @property
    def n_patches(self) -> int:
        """Patches in total."""
        return self.n_per_axis**2

    @property
    def offsets_px(self) -> range:
        """First row (or column) of the patches along one axis."""
        return range(0, self.image_px - self.patch_px + 1, self.stride_px)

    def contains(self, coarse: PatchGrid) -> bool:
        """Whether every patch of `coarse` is one of this grid's patches, so that one sweep serves both."""
        same_sizes = (coarse.image_px, coarse.patch_px) == (self.image_px, self.patch_px)
        return same_sizes and coarse.stride_px % self.stride_px == 0

    def coverage(self) -> np.ndarray:
        """How many patches cover each pixel: int64 `row col`, at least 1 everywhere, 1 in the corners."""
        along_axis = np.zeros(self.image_px, dtype=np.int64)
        for offset in self.offsets_px:
            along_axis[offset : offset + self.patch_px] += 1
        return np.outer(along_axis, along_axis)

    def block(self) -> PatchBlock:
        """All patches."""
        every = tuple(self.offsets_px)
        return PatchBlock(self, every, every)


@dataclass(frozen=True)
class PatchBlock:
    """Some patches of a grid: one at every pair of a row and a column."""

    grid: PatchGrid
    rows_px: tuple[int, ...]
    """First rows of the patches, rising."""
    cols_px: tuple[int, ...]
    """First columns of the patches, rising."""

    @property
    def n_patches(self) -> int:
        """Patches in total."""
        return len(self.rows_px) * len(self.cols_px)

    @property
    def rows(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """First row of the patches, and first columns of those there."""
        return tuple((row, self.cols_px) for row in self.rows_px)

    def in_parts(self, most_patches: int) -> Iterator[PatchBlock]:
        """The block cut between rows into even parts of at most so many patches, or of a single row."""
        rows_at_once = max(1, most_patches // len(self.cols_px))
        n_parts = math.ceil(len(self.rows_px) / rows_at_once)
        for part in range(n_parts):
            first, last = (len(self.rows_px) * i // n_parts for i in (part, part + 1))
            yield PatchBlock(self.grid, self.rows_px[first:last], self.cols_px)

    def patches(self, frames: FramesTensor) -> PatchBatch:
        """The patches, row by row: a view of the frames where they are one row of evenly spaced patches, else a copy.

        In memory time runs fastest, which is torch's `channels_last`, if it does so in `frames`.
        """
        size_px = self.grid.patch_px
        every = frames.permute(1, 2, 0).unfold(0, size_px, 1).unfold(1, size_px, 1).permute(0, 1, 3, 4, 2)
        chosen = _take(_take(every, 0, self.rows_px), 1, self.cols_px)  # row col patch_row patch_col time
        return chosen.flatten(0, 1).permute(0, 3, 1, 2)

    def fold(self, values: torch.Tensor) -> torch.Tensor:
        """Sum each row of patches into a strip: `patch channel patch_row patch_col` -> `row channel patch_row col`.

        The patches lie in a buffer as wide as the strip, zeros to the right of each. Read with a stride from one to the
        next that is shorter by their step, patch i appears i steps to the right, and what is read before it are the
        zeros behind the row before: one sum over a view, with no loop over patches.
        """
        n_rows, n_channels, size_px = len(self.rows_px), values.shape[1], self.grid.patch_px
        first, step = self.cols_px[0], _common_step(self.cols_px)
        n_positions = (self.cols_px[-1] - first) // step + 1
        width_px = (n_positions - 1) * step + size_px
        at = [(col - first) // step for col in self.cols_px]  # unevenly spaced ones leave patches of zeros in the gaps
        wide = values.new_zeros(n_rows, n_positions, n_channels, size_px, width_px)
        wide[:, slice(None) if len(at) == n_positions else at, ..., :size_px] = values.unflatten(0, (n_rows, len(at)))
        of_patch = n_channels * size_px * width_px
        strides = (n_positions * of_patch, of_patch - step, size_px * width_px, width_px, 1)
        strips = values.new_zeros(n_rows, n_channels, size_px, self.grid.image_px)
        strips[..., first : first + width_px] = wide.as_strided(wide.shape, strides).sum(1)
        return strips

    def add_to(self, sums: torch.Tensor, values: torch.Tensor) -> None:
        """Add `patch channel patch_row patch_col` where the patches lie on `channel row col`."""
        for row, strip in zip(self.rows_px, self.fold(values), strict=True):
            sums[:, row : row + self.grid.patch_px] += strip


def _common_step(offsets_px: Sequence[int]) -> int:
    return math.gcd(*(offset - offsets_px[0] for offset in offsets_px[1:])) or 1


def _take(values: torch.Tensor, axis: int, at: Sequence[int]) -> torch.Tensor:
    step = _common_step(at)
    if len(at) == (at[-1] - at[0]) // step + 1:
        return values[(slice(None),) * axis + (slice(at[0], at[-1] + 1, step),)]
    return values.index_select(axis, torch.tensor(at, device=values.device))
