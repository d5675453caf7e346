"""What a step minimises, by the kind of network, with the source of its chance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from pool.networks.dropout import Dropout
from pool.networks.mcd_unet import MCDUNet
from pool.networks.prob_unet import ProbUNet
from pool.trials.samplers import DROPOUT_RATE
from tune.asl.settings import AslTrainingSettings
from tune.losses import loss_function
from tune.precision import autocast

Objective = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From images `image time row col` and labels int64 `image row col` to a number."""


def objective(settings: AslTrainingSettings, network: nn.Module, generator: torch.Generator) -> Objective:
    """The recipe's loss of a network in training: the network in the recipe's precision, the loss in float32.

    With dropout it is the loss itself. A probabilistic U-Net also pays `kl_weight` times the divergence of posterior
    from prior. Kohl et al. weigh it against cross-entropy summed over an image's pixels; the losses here are means, so
    the divergence is divided by the number of pixels.

    Args:
        settings: the recipe.
        network: of a kind of trials.
        generator: of dropout or latent vectors, on the network's device.
    """
    loss = loss_function(settings.loss, settings.tversky_beta)

    device = generator.device.type

    def of_dropout(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with autocast(settings.precision, device):
            logits = network(images, Dropout([generator], DROPOUT_RATE))
        return loss(logits, labels)

    def of_latent(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        assert isinstance(network, ProbUNet)
        with autocast(settings.precision, device):
            logits, divergence = network.learn(images, labels, generator)
        return loss(logits, labels) + settings.kl_weight * divergence.mean() / labels[0].numel()

    assert isinstance(network, MCDUNet | ProbUNet)  # `AslTrainingSettings` takes no others
    return of_latent if isinstance(network, ProbUNet) else of_dropout
