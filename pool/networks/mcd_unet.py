"""The Monte-Carlo dropout U-Net: whole images in, logits out, another answer with every draw of its dropout.

Source: Do et al. 2020 ("Network Architecture", Figure 1): a U-Net with 5 x 5 filters, batch normalisation after every
convolution and dropout of 50 % at the end of every resolution scale, width 64. Decided here, where the paper is silent:
what is passed to the other side of the U is the scale's end, after dropout; upsampling is the 2 x 2 transposed
convolution of the original U-Net, without a normalisation of its own, as is the 1 x 1 convolution that makes logits.
"""

from __future__ import annotations

import torch
from torch import nn

from pool.networks.dropout import Dropout
from pool.shapes import LogitsBatch, PatchBatch

FILTER_PX = 5


class WideConvBlock(nn.Sequential):
    """Twice: 5 x 5 convolution, batch normalisation, ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        layers: list[nn.Module] = []
        for n_channels in (n_in, n_out):
            layers += [
                nn.Conv2d(n_channels, n_out, FILTER_PX, padding=FILTER_PX // 2, bias=False),
                nn.BatchNorm2d(n_out),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class MCDUNet(nn.Module):
    """U-Net of `n_poolings` scales below the first, with dropout that the caller hands in.

    Args:
        n_frames: input channels: 1 for an ASL image, the frames of a series otherwise.
        n_classes: output channels.
        width: channels of the first scale, doubled by every pooling.
        n_poolings: number of 2 x 2 max poolings; height and width of an image must be multiples of 2**n_poolings.
    """

    def __init__(self, n_frames: int, n_classes: int, width: int, n_poolings: int) -> None:
        super().__init__()
        self.n_frames = n_frames
        self.multiple_px = 2**n_poolings
        widths = [width * 2**level for level in range(n_poolings + 1)]
        self.encoder = nn.ModuleList(WideConvBlock(n_in, n_out) for n_in, n_out in zip([n_frames, *widths], widths))
        self.pool = nn.MaxPool2d(2)
        deepest_first = list(zip(widths[:0:-1], widths[-2::-1]))
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(n_in, n_out, 2, stride=2) for n_in, n_out in deepest_first)
        self.decoder = nn.ModuleList(WideConvBlock(2 * n_out, n_out) for _, n_out in deepest_first)
        self.classify = nn.Conv2d(width, n_classes, 1)

    def forward(self, images: PatchBatch, dropout: Dropout | None = None) -> LogitsBatch:
        """Logits `image class row col` of images `image time row col`.

        Args:
            images: zero mean and unit variance each.
            dropout: the source of this answer's chance; None drops nothing.
        """
        return self.answer(self.first_scale(images), dropout)

    def first_scale(self, images: PatchBatch) -> torch.Tensor:
        """What comes before any chance, `image channel row col`: all trials of an image share it."""
        return self.encoder[0](images)

    def answer(self, first: torch.Tensor, dropout: Dropout | None) -> LogitsBatch:
        """Logits from what `first_scale` returned, which dropout may change in place."""
        skips = [_dropped(first, dropout)]
        for block in self.encoder[1:]:
            skips.append(_dropped(block(self.pool(skips[-1])), dropout))
        x = skips.pop()
        for upsample, block in zip(self.upsample, self.decoder):
            x = _dropped(block(torch.cat([skips.pop(), upsample(x)], dim=1)), dropout)
        return self.classify(x)


def _dropped(maps: torch.Tensor, dropout: Dropout | None) -> torch.Tensor:
    return maps if dropout is None else dropout(maps)
