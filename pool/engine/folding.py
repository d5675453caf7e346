"""Batch normalisation folded into the convolution before it: one operation fewer, the same function.

    gamma (W x - mean) / sqrt(var + eps) + beta = (s W) x + (beta - s mean),  s = gamma / sqrt(var + eps)

Exact in evaluation mode up to rounding; s is computed in double precision.
"""

from __future__ import annotations

import copy

import torch
from torch import nn


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias, float32, of the convolution that equals `norm(convolution(x))` in evaluation mode."""
    assert norm.running_mean is not None  # a norm that keeps no statistics cannot be folded, see `can_fold`
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if convolution.bias is not None:
        shift = shift + convolution.bias.double() * scale
    if norm.affine:
        scale = scale * norm.weight.double()
        shift = shift * norm.weight.double() + norm.bias.double()
    weight = convolution.weight.double() * scale[:, None, None, None]
    return weight.float(), shift.float()


def can_fold(first: nn.Module, second: nn.Module) -> bool:
    """Whether the second module is a batch normalisation of the first's output, by running statistics."""
    return isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and second.track_running_stats


@torch.no_grad()
def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy of a network in evaluation mode, with every norm that directly follows a convolution folded into it.

    Only pairs that stand side by side in an `nn.Sequential` are folded: there alone the order of modules is the order
    of computation. A network without such pairs comes back as it is, uncopied.

    Args:
        network: in evaluation mode, unchanged.
    """
    pairs = [
        (name, i)
        for name, module in network.named_modules()
        if isinstance(module, nn.Sequential)
        for i in range(len(module) - 1)
        if can_fold(module[i], module[i + 1])
    ]
    if not pairs:
        return network
    result = copy.deepcopy(network)
    for name, i in pairs:
        block = result.get_submodule(name)
        assert isinstance(block, nn.Sequential)
        convolution, norm = block[i], block[i + 1]
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        weight, bias = folded(convolution, norm)
        convolution.weight = nn.Parameter(weight, requires_grad=False)
        convolution.bias = nn.Parameter(bias, requires_grad=False)
        block[i + 1] = nn.Identity()
    return result
