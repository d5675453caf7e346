"""The probabilistic U-Net: a U-Net whose last maps meet a latent vector, another answer with every vector drawn.

Source: Kohl et al., Advances in Neural Information Processing Systems 2018;31 (arXiv:1806.05034), as used by Do et al.
2020 ("Probabilistic U-Net") with a 6-D latent space. A prior net sees the image, a posterior net the image and its
labels; each gives an axis-aligned Gaussian. Training draws from the posterior and pays for its distance from the prior;
inference draws from the prior. Departures: batch normalisation as in this product's other networks, and as many
poolings in the two nets as in the U-Net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from pool.networks.unet import ConvBlock, UNet
from pool.shapes import LogitsBatch, PatchBatch

LATENT_SIZE = 6
"""Dimensions of the latent space, the paper's."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Axis-aligned normal distributions of latent vectors, one an image."""

    mean: torch.Tensor
    """`image latent`."""
    log_sd: torch.Tensor
    """Natural logarithm of the standard deviations, `image latent`."""

    def draw(self, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Vectors `draw latent`: of several distributions one each from a single generator, as a training needs them;
        of a single distribution one from each generator, as trials do."""
        n_each = len(self.mean) if len(generators) == 1 else 1
        shape, device = (n_each, self.mean.shape[1]), self.mean.device
        noise = torch.cat([torch.randn(shape, generator=generator, device=device) for generator in generators])
        return self.mean + self.log_sd.exp() * noise

    def divergence_from(self, other: Gaussians) -> torch.Tensor:
        """Kullback-Leibler divergence KL(self || other), summed over the dimensions, `image`.

        `sum of log(s2 / s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2`, with 1 for self and 2 for other.
        """
        ratio = self.log_sd - other.log_sd
        distance = (self.mean - other.mean) * torch.exp(-other.log_sd)
        return (0.5 * (torch.exp(2 * ratio) + distance * distance - 1) - ratio).sum(dim=1)


class GaussianNet(nn.Module):
    """An encoder that ends in a Gaussian.

    Args:
        n_in: input channels.
        width: channels of the first scale, doubled by every pooling.
        n_poolings: number of 2 x 2 poolings.
    """

    def __init__(self, n_in: int, width: int, n_poolings: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(n_poolings + 1)]
        self.scales = nn.ModuleList(ConvBlock(a, b) for a, b in zip([n_in, *widths], widths))
        self.pool = nn.AvgPool2d(2)
        self.describe = nn.Conv2d(widths[-1], 2 * LATENT_SIZE, 1)

    def forward(self, x: torch.Tensor) -> Gaussians:
        """The Gaussians of images `image channel row col`."""
        for level, block in enumerate(self.scales):
            x = block(self.pool(x) if level else x)
        described = self.describe(x.mean(dim=(2, 3), keepdim=True)).flatten(1).float()  # a draw and a loss come of it
        mean, log_sd = described.chunk(2, dim=1)
        return Gaussians(mean, log_sd)


class ProbUNet(nn.Module):
    """U-Net, prior net, posterior net, and the 1 x 1 convolutions that join maps and vector.

    Args:
        n_frames: input channels: 1 for an ASL image.
        n_classes: output channels.
        width: channels of the first scale.
        n_poolings: number of 2 x 2 poolings; height and width of an image must be multiples of 2**n_poolings.
    """

    def __init__(self, n_frames: int, n_classes: int, width: int, n_poolings: int) -> None:
        super().__init__()
        self.n_frames, self.n_classes, self.multiple_px = n_frames, n_classes, 2**n_poolings
        self.unet = UNet(n_frames, width, width, n_poolings)
        self.prior = GaussianNet(n_frames, width, n_poolings)
        self.posterior = GaussianNet(n_frames + n_classes, width, n_poolings)
        self.join = nn.Sequential(
            nn.Conv2d(width + LATENT_SIZE, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1),
            nn.ReLU(inplace=True),
        )
        self.classify = nn.Conv2d(width, n_classes, 1)

    def forward(self, images: PatchBatch) -> LogitsBatch:
        """Logits `image class row col` at the middle of the prior, without chance."""
        return self.answer(self.unet(images), self.prior(images).mean)

    def answer(self, maps: torch.Tensor, vectors: torch.Tensor) -> LogitsBatch:
        """Logits of maps `image channel row col` with vectors `image latent`."""
        tiled = vectors.to(maps.dtype)[:, :, None, None].expand(-1, -1, *maps.shape[2:])
        return self.classify(self.join(torch.cat([maps, tiled], dim=1)))

    def learn(
        self, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits from a draw of the posterior, and how far it lies from the prior: `image class row col`, `image`.

        Args:
            images: `image time row col`.
            labels: int64 `image row col`, what the posterior net is told.
            generator: of the draw.
        """
        told = functional.one_hot(labels, self.n_classes).movedim(-1, 1).to(images.dtype)
        posterior, prior = self.posterior(torch.cat([images, told], dim=1)), self.prior(images)
        logits = self.answer(self.unet(images), posterior.draw([generator]))
        return logits, posterior.divergence_from(prior)
