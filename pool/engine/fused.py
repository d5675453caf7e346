"""Convolution, sum and ReLU as one operation of oneDNN on processors: maps are written once instead of thrice.

torch offers these to its compiler alone (`torch.ops.mkldnn`), hence the fallback: where they are missing or refuse, the
same numbers come from separate operations.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.nn import functional as nnf

_SAME = ([1, 1], [1, 1], [1, 1], 1)
"""Padding, stride, dilation and groups of a 3 x 3 convolution that keeps the size."""


def conv_relu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """3 x 3 convolution that keeps the size, and ReLU."""
    if _is_fused(x.device.type, x.dtype):
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *_SAME, "relu", [], "")
    return nnf.conv2d(x, weight, bias, padding=1).relu_()


def conv_add_relu(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
    """The same of the convolution plus a map, which is overwritten."""
    if _is_fused(x.device.type, x.dtype):
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            added, x, weight, bias, *_SAME, "add", 1.0, "relu", [], None
        )
    return nnf.conv2d(x, weight, bias, padding=1).add_(added).relu_()


@cache
def _is_fused(device_type: str, dtype: torch.dtype) -> bool:
    """Whether both operations are there and right, tried once."""
    if device_type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    with torch.inference_mode():
        x, added = (random(2, 8, 8, 8).contiguous(memory_format=torch.channels_last) for _ in range(2))
        weight, bias = random(8, 8, 3, 3).contiguous(memory_format=torch.channels_last), random(8)
        plain = nnf.conv2d(x.float(), weight.float(), bias.float(), padding=1)
        expected = (plain.relu(), (plain + added.float()).relu())
        try:
            found = (
                torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *_SAME, "relu", [], ""),
                torch.ops.mkldnn._convolution_pointwise_.binary(
                    added.clone(), x, weight, bias, *_SAME, "add", 1.0, "relu", [], None
                ),
            )
        except (RuntimeError, AttributeError, TypeError):
            return False
        tolerance = 4 * torch.finfo(dtype).eps * float(plain.abs().max() + added.abs().max())
        return all(bool((one.float() - other).abs().max() <= tolerance) for one, other in zip(found, expected))
