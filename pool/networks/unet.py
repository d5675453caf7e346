"""The vanilla 2D+time U-Net: a space-time patch in, static class logits out, time as channels.

Source: Ronneberger et al. 2015 (doi:10.1007/978-3-319-24574-4_28) as used by Yalcinkaya et al. 2024 (Methods,
"Patch-Level Training of the DNN Pool"). Batch normalisation after every 3 x 3 convolution is our addition: the paper
does not say, and without it the compact network trains markedly slower.
"""

from __future__ import annotations

import torch
from torch import nn

from pool.shapes import LogitsBatch, PatchBatch


class ConvBlock(nn.Sequential):
    """Twice: 3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(
            nn.Conv2d(n_in, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(n_out, n_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """U-Net of `n_poolings` levels below the first.

    Args:
        n_frames: input channels.
        n_classes: output channels.
        width: channels of the first level, doubled by every pooling.
        n_poolings: number of 2 x 2 max poolings; height and width of a patch must be multiples of 2**n_poolings.
    """

    def __init__(self, n_frames: int, n_classes: int, width: int, n_poolings: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(n_poolings + 1)]
        self.encoder = nn.ModuleList(ConvBlock(n_in, n_out) for n_in, n_out in zip([n_frames, *widths], widths))
        self.pool = nn.MaxPool2d(2)
        deepest_first = list(zip(widths[:0:-1], widths[-2::-1]))
        self.upsample = nn.ModuleList(nn.ConvTranspose2d(n_in, n_out, 2, stride=2) for n_in, n_out in deepest_first)
        self.decoder = nn.ModuleList(ConvBlock(n_in, n_out) for n_in, n_out in deepest_first)
        self.classify = nn.Conv2d(width, n_classes, 1)

    def forward(self, patches: PatchBatch) -> LogitsBatch:
        """Logits `patch class row col` of patches `patch time row col`."""
        skips: list[torch.Tensor] = []
        x = patches
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            skips.append(x)
        skips.pop()
        for upsample, block in zip(self.upsample, self.decoder):
            x = block(torch.cat([skips.pop(), upsample(x)], dim=1))
        return self.classify(x)


def he_initialise(network: nn.Module, generator: torch.Generator | None) -> None:
    """He initialisation (He et al. 2015, doi:10.1109/ICCV.2015.123), fan-in, biases 0, batch norm the identity.

    Args:
        network: initialised in place.
        generator: explicit random source; None sets the weights to 0 (they are about to be loaded).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if generator is None:
                nn.init.zeros_(module.weight)
            else:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            module.reset_running_stats()
