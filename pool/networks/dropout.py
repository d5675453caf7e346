"""Dropout from explicit generators: in a training one for the batch, at inference one for each trial.

torch's own dropout draws from the global generator, and a trial could not be repeated without all those before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

N_LEVELS = 256
"""A rate is honoured in steps of 1 / 256: eight decisions come from every 64 bits drawn, which is what makes 100 trials
cheap. 50 % is exact."""


@dataclass(frozen=True, eq=False)
class Dropout:
    """Sets elements of feature maps to 0 with probability `rate` and scales the others by 1 / (1 - rate).

    Source: Srivastava et al., J Mach Learn Res 2014;15:1929. Elements are dropped one by one, not channels.
    """

    generators: Sequence[torch.Generator]
    """One for the whole batch, or one for each of its images, on the device of the maps."""
    rate: float = 0.5
    """In [0, 1), rounded to a multiple of 1 / 256; 0 draws nothing and changes nothing."""

    def __call__(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps `image channel row col` after dropout; changed in place where no gradient is wanted.

        The draws do not depend on how the maps lie in memory.
        """
        n_dropped = round(N_LEVELS * self.rate)
        if n_dropped == 0:
            return maps
        kept = self._bytes(maps) >= n_dropped
        scale = N_LEVELS / (N_LEVELS - n_dropped)
        if torch.is_grad_enabled() and maps.requires_grad:
            return maps * kept.to(maps.dtype).mul_(scale)  # in bfloat16 a mask in float32 would widen all that follows
        return maps.mul_(kept).mul_(scale)

    def _bytes(self, maps: torch.Tensor) -> torch.Tensor:
        """Evenly distributed bytes of the maps' shape, channels last in memory, as the maps of a fast network are."""
        n_images, n_channels, n_rows, n_cols = maps.shape
        n_bytes = maps.numel() // len(self.generators)
        words = torch.empty(len(self.generators), -(-n_bytes // 8), dtype=torch.int64, device=maps.device)
        for row, generator in zip(words, self.generators):
            row.random_(-(2**63), None, generator=generator)
        drawn = words.view(torch.uint8)[:, :n_bytes]
        return drawn.reshape(n_images, n_rows, n_cols, n_channels).permute(0, 3, 1, 2)
