"""Where the patches of a sweep lie. Knows nothing of networks or probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pool.errors import SettingsError
from pool.shapes import FramesTensor, PatchBatch


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

    def row_of_patches(self, frames: FramesTensor, row_offset_px: int) -> PatchBatch:
        """View (no copy) of all patches whose first row is `row_offset_px`, by rising column."""
        strip = frames[:, row_offset_px : row_offset_px + self.patch_px]
        return strip.unfold(2, self.patch_px, self.stride_px).permute(2, 0, 1, 3)

    def fold_row(self, values: torch.Tensor) -> torch.Tensor:
        """Sum a row of patches back into a strip: `patch channel row col` -> `channel row=patch_px col=image_px`."""
        n_patches, n_channels = values.shape[:2]
        columns = values.permute(1, 2, 3, 0).reshape(1, -1, n_patches)
        strip = torch.nn.functional.fold(
            columns, (self.patch_px, self.image_px), (self.patch_px, self.patch_px), stride=(1, self.stride_px)
        )
        return strip.reshape(n_channels, self.patch_px, self.image_px)
