"""In which arithmetic a forward pass runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch

PRECISIONS = ("auto", "float32", "bfloat16")


def resolve_precision(precision: str, device: str) -> str:
    """What `auto` means on a device: bfloat16 where it is faster: GPUs, and processors with matrix units for it.

    Vector instructions alone do not help: a training on AVX-512 BF16 took 1.35 times as long as in float32
    (`tune bench`, once with each), and emulated bfloat16 ten times.
    """
    if precision != "auto":
        return precision
    if device != "cpu":
        return "bfloat16"
    features: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.9 has none
    return "bfloat16" if features.get("amx_bf16") else "float32"


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """Autocasting to bfloat16, or none."""
    return torch.autocast(device, torch.bfloat16, enabled=resolve_precision(precision, device) == "bfloat16")
