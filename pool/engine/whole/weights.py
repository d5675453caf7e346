"""A U-Net's folded weights as tensors whose contents can be replaced: one set of them serves every member of a pool.

Stored for convolutions on tensor cores: channels fastest, the frames' and the classes' channels filled up with zeros to
multiples of 8. The 4 x 4 transposed convolution of stride 2 that `pool.engine.unet` composes is kept as a 2 x 2
convolution with one set of output channels for each of the four pixels that it makes of one: `upsampled_view` says how
these are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import nn
from torch.nn import functional as nnf

from pool.engine.folding import folded
from pool.engine.unet import composed_upsampling
from pool.networks.unet import ConvBlock, UNet

CHANNELS_MULTIPLE = 8
"""Of what tensor cores take at once."""


@dataclass(frozen=True, eq=False)
class BlockWeights:
    """Two convolutions."""

    first: torch.Tensor
    first_bias: torch.Tensor
    second: torch.Tensor
    second_bias: torch.Tensor

    def tensors(self) -> list[torch.Tensor]:
        """All of them, in the fields' order."""
        return [getattr(self, item.name) for item in fields(self)]


@dataclass(frozen=True, eq=False)
class DecoderWeights(BlockWeights):
    """A decoder level: `first` is the skip half of its first convolution."""

    up: torch.Tensor
    """Upsampling, composed with the other half: `4*out in 2 2`."""
    constant: torch.Tensor
    """What the upsampling's bias adds in the corners, at the edges and inside: `3 3 out`."""


@dataclass(frozen=True, eq=False)
class UNetWeights:
    """All of a U-Net, levels finest first."""

    encoder: tuple[BlockWeights, ...]
    decoder: tuple[DecoderWeights, ...]
    classify: torch.Tensor
    classify_bias: torch.Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, network: UNet, dtype: torch.dtype) -> UNetWeights:
        """Of a network in evaluation mode, copied, on its device.

        Args:
            network: later changes of its weights have no effect here.
            dtype: to store them in.
        """

        def stored(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.detach().to(dtype, copy=True)
            return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor.contiguous()

        encoder = []
        for level, block in enumerate(network.encoder):
            first, *rest = _convolutions(block)
            encoder.append(BlockWeights(*map(stored, (filled_up(first, 1) if level == 0 else first, *rest))))
        decoder = []
        for upsample, block in zip(reversed(network.upsample), reversed(network.decoder)):
            assert isinstance(upsample, nn.ConvTranspose2d)
            assert upsample.bias is not None  # `UNet` gives it one
            first, bias, *second = _convolutions(block)
            of_skip, of_upsampled = first.split(upsample.out_channels, dim=1)
            constant = upsample.bias.detach()[None, :, None, None].expand(-1, -1, 3, 3)
            nine = nnf.conv2d(constant, of_upsampled, padding=1)[0].permute(1, 2, 0)
            up = _by_pixel(composed_upsampling(upsample.weight.detach(), of_upsampled))
            decoder.append(DecoderWeights(*map(stored, (of_skip, bias, *second, up, nine))))
        assert network.classify.bias is not None
        classify = (filled_up(network.classify.weight, 0), filled_up(network.classify.bias, 0))
        return cls(tuple(encoder), tuple(decoder), *map(stored, classify))

    def tensors(self) -> list[torch.Tensor]:
        """All tensors, always in the same order."""
        return [*self._of_blocks(), self.classify, self.classify_bias]

    def _of_blocks(self) -> Iterator[torch.Tensor]:
        for block in (*self.encoder, *self.decoder):
            yield from block.tensors()

    @torch.inference_mode()
    def copy_(self, other: UNetWeights) -> None:
        """Take over the numbers of a network of the same size, in place."""
        for mine, its in zip(self.tensors(), other.tensors(), strict=True):
            mine.copy_(its, non_blocking=True)


def filled_up(tensor: torch.Tensor, dim: int) -> torch.Tensor:
    """Zeros appended along a dimension, up to a multiple of `CHANNELS_MULTIPLE`."""
    missing = -tensor.shape[dim] % CHANNELS_MULTIPLE
    if not missing:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


def upsampled_view(of_pixels: torch.Tensor) -> torch.Tensor:
    """The upsampled map in what the 2 x 2 convolution gave, without a copy: `patch row 2 col 2 channel`.

    Pixel (2 i + a, 2 j + b) is channel set 2 a + b at (i + a, j + b).

    Args:
        of_pixels: `patch row+1 col+1 4*channel`, contiguous.
    """
    n_patches, n_rows, n_cols, n_channels = of_pixels.shape
    of_row, of_col, n_out = n_cols * n_channels, n_channels, n_channels // 4
    return of_pixels.as_strided(
        (n_patches, n_rows - 1, 2, n_cols - 1, 2, n_out),
        (n_rows * of_row, of_row, of_row + 2 * n_out, of_col, of_col + n_out, 1),
    )


def _by_pixel(kernel: torch.Tensor) -> torch.Tensor:
    """`in out 4 4` of a transposed convolution of stride 2 and padding 1 as `4*out in 2 2` of one with padding 1.

    Pixel a of the two that a row makes lies on tap 3 - 2 u - a of input row u of the window.
    """
    n_in, n_out = kernel.shape[:2]
    taps = kernel.flip(2, 3).reshape(n_in, n_out, 2, 2, 2, 2)  # in out u a v b, from tap 3 on downwards
    return taps.permute(3, 5, 1, 0, 2, 4).reshape(4 * n_out, n_in, 2, 2)


def _convolutions(block: nn.Module) -> tuple[torch.Tensor, ...]:
    assert isinstance(block, ConvBlock)
    convolutions = [module for module in block if isinstance(module, nn.Conv2d)]
    norms = [module for module in block if isinstance(module, nn.BatchNorm2d)]
    return tuple(tensor for pair in zip(convolutions, norms, strict=True) for tensor in folded(*pair))
