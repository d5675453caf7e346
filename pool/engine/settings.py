"""How the patches of a sweep are computed, as data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pool.errors import SettingsError

DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16}
"""`tf32` rounds the inputs of convolutions to 10 bits of mantissa on GPUs that can; elsewhere it is float32."""


@dataclass(frozen=True)
class EngineSettings:
    """How an `Engine` runs a network. Of these, only `dtype` changes results by more than rounding.

    Raises:
        SettingsError: an unknown dtype, or a batch size below 1.
    """

    dtype: str = "float32"
    """Of the convolutions, one of `DTYPES`; the softmax is float32 always. Nothing but this setting leaves float32."""
    batch_size: int | None = None
    """Most patches in one forward pass; None for a small one that stays in a processor's cache, or on a GPU for as many
    as its free memory holds."""
    channels_last: bool = True
    """Memory layout of batches and weights: channels fastest, or torch's default (columns fastest)."""
    sharing: bool = True
    """Compute once what neighbouring patches repeat, where that is faster: on processors, see `pool.engine.shared`."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SettingsError("engine", f"dtype must be one of {', '.join(DTYPES)}", repr(self.dtype))
        if self.batch_size is not None and self.batch_size < 1:
            raise SettingsError("engine", "batch_size must be at least 1", str(self.batch_size))

    @property
    def torch_dtype(self) -> torch.dtype:
        """What tensors are stored as."""
        return DTYPES[self.dtype]

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout in torch's words."""
        return torch.channels_last if self.channels_last else torch.contiguous_format
