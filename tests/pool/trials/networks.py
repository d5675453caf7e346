"""Small networks whose answers to an image differ from trial to trial."""

from __future__ import annotations

import numpy as np
import torch

from pool.networks import NetworkSpec, build_network
from pool.networks.mcd_unet import MCDUNet

TINY_MCD = NetworkSpec(kind="mcd-unet", width=4, n_poolings=2, n_frames=1)


def untrained_mcd(spec: NetworkSpec = TINY_MCD, seed: int = 1) -> MCDUNet:
    """Untrained, with the statistics of a few batches, and a mask that is neither empty nor full."""
    network = build_network(spec, torch.Generator().manual_seed(seed))
    assert isinstance(network, MCDUNet)
    made = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(4, spec.n_frames, 32, 32, generator=made))
        network.classify.bias.copy_(torch.tensor([0.0, 0.5, 0.0])[: spec.n_classes])
    return network.eval()


def image(n_frames: int = 1, px: int = 32, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_frames, px, px)).astype(np.float32)
