"""The vanilla U-Net taken apart and put together again for speed: the same function of a patch, in fewer operations.

Batch normalisation is folded (`pool.engine.folding`). In the decoder nothing non-linear stands between the 2 x 2
transposed convolution U and the 3 x 3 convolution [S | V] over (skip, upsampled), so

    S * skip + V * (U x + u) = S * skip + (V U) x + V * u

and V U is one 4 x 4 transposed convolution of stride 2 and padding 1: 8 multiplications a pixel and pair of channels
instead of 9 + 2. V * u, the upsampling's bias seen through V, is constant but for the outermost pixels, where zero
padding cuts V: nine values a channel. `skip` gives S * skip + V * u, which depends on the encoder alone, and hence can
be shared by neighbouring patches as the encoder can (`pool.engine.shared`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional as nnf

from pool.engine.folding import folded
from pool.engine.fused import conv_add_relu, conv_relu
from pool.engine.settings import EngineSettings
from pool.networks.unet import ConvBlock, UNet

Kind = TypeVar("Kind", bound=nn.Module)


class FoldedUNet:
    """Steps of a U-Net's forward pass. Levels count from 0, the finest, to `n_poolings`.

    Args:
        network: in evaluation mode; later changes of its weights have no effect here.
        settings: data type and layout.
    """

    def __init__(self, network: UNet, settings: EngineSettings) -> None:
        def stored(tensor: torch.Tensor) -> torch.Tensor:
            tensor = tensor.detach().to(settings.torch_dtype)
            return tensor.contiguous(memory_format=settings.memory_format) if tensor.dim() == 4 else tensor

        blocks = _of_kind(ConvBlock, [*network.encoder, *network.decoder])
        upsamples = _of_kind(nn.ConvTranspose2d, network.upsample)
        self._memory_format = settings.memory_format
        self.n_poolings = len(network.decoder)
        self.widths = [2**level * network.classify.in_channels for level in range(self.n_poolings + 1)]
        self._encoder = [tuple(map(stored, _convolutions(block))) for block in blocks[: self.n_poolings + 1]]
        self._skip, self._nine_biases, self._up, self._second = [], [], [], []
        deepest_last = zip(reversed(upsamples), reversed(blocks))
        for level, (upsample, block) in enumerate(deepest_last):
            weight, bias, *second = _convolutions(block)
            of_skip, of_upsampled = weight.split(self.widths[level], dim=1)
            self._skip.append((stored(of_skip), stored(bias)))
            self._up.append(stored(composed_upsampling(upsample.weight.detach(), of_upsampled)))
            assert upsample.bias is not None  # `UNet` gives it one
            constant = upsample.bias.detach()[None, :, None, None].expand(-1, -1, 3, 3)
            self._nine_biases.append(stored(nnf.conv2d(constant, of_upsampled, padding=1)))
            self._second.append(tuple(map(stored, second)))
        assert network.classify.bias is not None
        self._classify = (stored(network.classify.weight), stored(network.classify.bias))
        self._bias_maps: dict[tuple[int, int, int], torch.Tensor] = {}

    def encode(self, level: int, x: torch.Tensor) -> torch.Tensor:
        """Both convolutions of an encoder level."""
        weight, bias, second_weight, second_bias = self._encoder[level]
        return conv_relu(conv_relu(x, weight, bias), second_weight, second_bias)

    def skip(self, level: int, features: torch.Tensor) -> torch.Tensor:
        """What a level's encoder features add to the decoder's first convolution, biases included."""
        weight, bias = self._skip[level]
        return nnf.conv2d(features, weight, bias, padding=1).add_(self._bias_map(level, *features.shape[2:]))

    def _bias_map(self, level: int, n_rows: int, n_cols: int) -> torch.Tensor:
        """V * u on a map of any size."""
        key = (level, n_rows, n_cols)
        if key not in self._bias_maps:
            nine = self._nine_biases[level]
            rows, cols = (_first_inner_last(n, nine.device) for n in (n_rows, n_cols))
            whole = nine[:, :, rows][:, :, :, cols]
            self._bias_maps[key] = whole.contiguous(memory_format=self._memory_format)
        return self._bias_maps[key]

    def decode(self, level: int, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """A decoder level: the coarser features, and what `skip` gave, which is overwritten."""
        x = skip.add_(nnf.conv_transpose2d(x, self._up[level], stride=2, padding=1)).relu_()
        return conv_relu(x, *self._second[level])

    def decode_features(self, level: int, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """The same from the encoder's features, whose `skip` was not computed."""
        up = nnf.conv_transpose2d(x, self._up[level], stride=2, padding=1)
        weight, bias = self._skip[level]
        x = conv_add_relu(features, weight, bias, up.add_(self._bias_map(level, *features.shape[2:])))
        return conv_relu(x, *self._second[level])

    def finish(self, level: int, x: torch.Tensor, skips: list[torch.Tensor]) -> torch.Tensor:
        """From the input of an encoder level to the logits.

        Args:
            level: first level still to do; 0 is the whole network.
            x: its input, pooled already.
            skips: `skip` of the levels above, finest first; taken over.
        """
        features: list[torch.Tensor] = []
        for deeper in range(level, self.n_poolings + 1):
            x = self.encode(deeper, x if deeper == level else nnf.max_pool2d(x, 2))
            features.append(x)
        features.pop()
        for shallower in reversed(range(self.n_poolings)):
            if shallower >= level:
                x = self.decode_features(shallower, x, features.pop())
            else:
                x = self.decode(shallower, x, skips.pop())
        return nnf.conv2d(x, *self._classify)


def _convolutions(block: ConvBlock) -> tuple[torch.Tensor, ...]:
    (first, second), (first_norm, second_norm) = _of_kind(nn.Conv2d, block), _of_kind(nn.BatchNorm2d, block)
    return (*folded(first, first_norm), *folded(second, second_norm))


def _of_kind(kind: type[Kind], modules: Iterable[nn.Module]) -> list[Kind]:
    return [module for module in modules if isinstance(module, kind)]


def composed_upsampling(upsample: torch.Tensor, convolution: torch.Tensor) -> torch.Tensor:
    """Kernel of the 4 x 4 transposed convolution that equals a 2 x 2 one of stride 2 and then a 3 x 3 convolution.

    Upsampling puts tap (a, b) at pixel (2 i + a, 2 j + b); tap (k, l) of the convolution brings it from there to
    (2 i + a - k + 1, 2 j + b - l + 1), which is tap (a - k + 2, b - l + 2) of the result with padding 1.

    Args:
        upsample: `in middle 2 2`.
        convolution: `out middle 3 3`.
    """
    kernel = upsample.new_zeros(upsample.shape[0], convolution.shape[0], 4, 4)
    for a, b in ((0, 0), (0, 1), (1, 0), (1, 1)):
        taps = torch.einsum("im,omkl->iokl", upsample[:, :, a, b], convolution)
        kernel[:, :, a : a + 3, b : b + 3] += taps.flip(2, 3)
    return kernel


def _first_inner_last(n: int, device: torch.device) -> torch.Tensor:
    kinds = torch.ones(n, dtype=torch.long, device=device)
    kinds[0], kinds[-1] = 0, 2
    return kinds
