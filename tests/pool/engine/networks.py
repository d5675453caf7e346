"""Networks whose every parameter matters: untrained ones have batch norms that do nothing and biases of 0."""

from __future__ import annotations

import torch
from torch import nn

from pool.networks import NetworkSpec, build_network


@torch.no_grad()
def lively_network(spec: NetworkSpec, seed: int = 0) -> nn.Module:
    """A network with random weights, biases and running statistics, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    network = build_network(spec, generator).requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.bias, module.running_mean):
                values.copy_(0.2 * torch.randn(values.shape, generator=generator))
            for values in (module.weight, module.running_var):
                values.copy_(0.5 + torch.rand(values.shape, generator=generator))
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
    return network.eval()


def random_slice(n_frames: int, image_px: int, seed: int = 1) -> torch.Tensor:
    """Frames of noise, time running fastest in memory."""
    noise = torch.rand(image_px, image_px, n_frames, generator=torch.Generator().manual_seed(seed))
    return noise.permute(2, 0, 1)
