"""Where a trial's chance comes from: a network made ready to answer many times about one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from pool.engine.folding import fold_batch_norm
from pool.errors import SettingsError
from pool.networks.dropout import Dropout
from pool.networks.mcd_unet import MCDUNet

DROPOUT_RATE = 0.5
"""The paper's, in training and at inference."""


class Sampler(Protocol):
    """A network that answers by chance."""

    n_frames: int
    """Channels of an image."""
    multiple_px: int
    """Rows and columns of an image must be multiples of it."""

    @property
    def device(self) -> torch.device:
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
            raise SettingsError("trials", "need a network with dropout, of kind mcd-unet", type(network).__name__)
        if not 0 <= rate < 1:
            raise SettingsError("dropout rate", "must lie from 0 to below 1", f"{rate:g}")
        self.rate = rate
        self.n_frames, self.multiple_px = network.n_frames, network.multiple_px
        was_training = network.training
        ready = fold_batch_norm(network.eval())
        network.train(was_training)
        assert isinstance(ready, MCDUNet)
        self._network = ready.eval().requires_grad_(False)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs

    @property
    def device(self) -> torch.device:
        """Of the network."""
        return self._network.classify.weight.device

    @torch.inference_mode()
    def certain(self, image: torch.Tensor) -> object:
        """The first scale's maps."""
        return self._network.first_scale(image.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def probability(self, certain: object, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """See `Sampler`."""
        assert isinstance(certain, torch.Tensor)
        replicated = certain.expand(len(generators), -1, -1, -1).clone(memory_format=torch.channels_last)
        return self._network.answer(replicated, Dropout(generators, self.rate)).softmax(dim=1)
