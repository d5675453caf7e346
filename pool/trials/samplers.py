"""Where a trial's chance comes from: a network made ready to answer many times about one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch
from torch import nn

from pool.engine.folding import fold_batch_norm
from pool.errors import SettingsError
from pool.networks.dropout import Dropout
from pool.networks.mcd_unet import MCDUNet
from pool.networks.prob_unet import Gaussians, ProbUNet

DROPOUT_RATE = 0.5
"""The paper's, in training and at inference."""


class Sampler(Protocol):
    """A network that answers by chance."""

    n_frames: int
    """Channels of an image."""
    multiple_px: int
    """Rows and columns of an image must be multiples of it."""

    device: torch.device
    """Where images and generators must be."""

    def certain(self, image: torch.Tensor) -> object:
        """What all trials on an image `1 time row col` share."""

    def probability(self, certain: object, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Softmax probabilities of a trial for each generator, float32 `trial class row col`."""


class DropoutSampler:
    """Monte-Carlo dropout: the network in evaluation mode, its dropout on, each trial with its own generator.

    The scale before the first dropout is computed once for all trials, and batch normalisation, whose statistics are
    those of the training, is folded into the convolutions.

    Args:
        network: left as it is.
        rate: of the dropout; 0 makes all trials alike.

    Raises:
        SettingsError: a network without dropout, or a rate outside [0, 1).
    """

    def __init__(self, network: nn.Module, rate: float = DROPOUT_RATE) -> None:
        if not isinstance(network, MCDUNet):
            raise SettingsError("trials", "of dropout need a network of kind mcd-unet", type(network).__name__)
        if not 0 <= rate < 1:
            raise SettingsError("dropout rate", "must lie from 0 to below 1", f"{rate:g}")
        self.rate = rate
        self.n_frames, self.multiple_px = network.n_frames, network.multiple_px
        self._network = _ready(network)
        self.device = self._network.classify.weight.device

    @torch.inference_mode()
    def certain(self, image: torch.Tensor) -> object:
        """The first scale's maps."""
        return self._network.first_scale(image.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def probability(self, certain: object, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """See `Sampler`."""
        assert isinstance(certain, torch.Tensor)
        replicated = certain.expand(len(generators), -1, -1, -1).clone(memory_format=torch.channels_last)
        return _probability(self._network.answer(replicated, Dropout(generators, self.rate)))


class LatentSampler:
    """The probabilistic U-Net: maps and prior computed once, each trial with a vector of its own from the prior.

    Args:
        network: left as it is.
    """

    def __init__(self, network: ProbUNet) -> None:
        self.n_frames, self.multiple_px = network.n_frames, network.multiple_px
        self._network = _ready(network)
        self.device = self._network.classify.weight.device

    @torch.inference_mode()
    def certain(self, image: torch.Tensor) -> object:
        """The U-Net's last maps, and the prior."""
        image = image.contiguous(memory_format=torch.channels_last)
        return self._network.unet(image), self._network.prior(image)

    @torch.inference_mode()
    def probability(self, certain: object, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """See `Sampler`."""
        assert isinstance(certain, tuple)
        maps, prior = certain
        assert isinstance(prior, Gaussians)
        vectors = prior.draw(generators)
        return _probability(self._network.answer(maps.expand(len(vectors), -1, -1, -1), vectors))


def sampler_of(network: nn.Module) -> Sampler:
    """The sampler of a network's kind, dropout at the paper's rate.

    Raises:
        SettingsError: a network that answers without chance.
    """
    if isinstance(network, ProbUNet):
        return LatentSampler(network)
    if isinstance(network, MCDUNet):
        return DropoutSampler(network)
    found = type(network).__name__
    raise SettingsError("trials", "need a network that answers by chance, of kind mcd-unet or prob-unet", found)


def _probability(logits: torch.Tensor) -> torch.Tensor:
    """In float32 whatever arithmetic the logits come in: a bfloat16 has 8 bits, too few for a threshold at 0.5."""
    return logits.float().softmax(dim=1)


Network = TypeVar("Network", bound=nn.Module)


def _ready(network: Network) -> Network:
    """A copy in evaluation mode with batch normalisation folded into the convolutions; the network stays as it is."""
    was_training = network.training
    ready = fold_batch_norm(network.eval())
    network.train(was_training)
    assert isinstance(ready, type(network))
    ready.eval().requires_grad_(False)
    ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return ready
