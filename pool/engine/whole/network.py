"""The U-Net as steps on large batches, with the operations that are fastest on the device."""

from __future__ import annotations

import torch
from torch.nn import functional as nnf

from pool.engine.whole.weights import UNetWeights, upsampled_view


class BatchUNet:
    """Steps of a U-Net's forward pass; tensors are `patch channel row col`, channels fastest in memory.

    Args:
        weights: read anew in every step, so that `UNetWeights.copy_` changes the network.
        fused: convolution, bias and ReLU in one operation of cuDNN; only on GPUs, see `fused_works`.
    """

    def __init__(self, weights: UNetWeights, fused: bool) -> None:
        self.weights, self.fused = weights, fused
        self.n_poolings = len(weights.decoder)
        self._kinds: dict[int, torch.Tensor] = {}

    def encode(self, level: int, x: torch.Tensor) -> torch.Tensor:
        """Both convolutions of an encoder level."""
        block = self.weights.encoder[level]
        return self._conv_relu(self._conv_relu(x, block.first, block.first_bias), block.second, block.second_bias)

    def skip(self, level: int, features: torch.Tensor) -> torch.Tensor:
        """What a level's encoder features add to the decoder's first convolution, biases included."""
        block = self.weights.decoder[level]
        return nnf.conv2d(features, block.first, padding=1).add_(self._constant(level, features, with_bias=True))

    def decode(self, level: int, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """A decoder level from the coarser features and what `skip` gave, which is overwritten."""
        up = self._upsampled(level, x)
        skip.permute(0, 2, 3, 1).view(up.shape).add_(up).relu_()
        block = self.weights.decoder[level]
        return self._conv_relu(skip, block.second, block.second_bias)

    def decode_features(self, level: int, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """The same from the encoder's features, for which `skip` was not computed."""
        up = self._upsampled(level, x)
        constant = self._constant(level, features, with_bias=False).permute(0, 2, 3, 1)
        joined = torch.add(
            up, constant.reshape(up.shape[1:]), out=torch.empty(up.shape, dtype=up.dtype, device=up.device)
        )
        joined = joined.reshape(len(x), *features.shape[2:], -1).permute(0, 3, 1, 2)
        block = self.weights.decoder[level]
        if self.fused:
            x = torch.cudnn_convolution_add_relu(
                features, block.first, joined, 1.0, block.first_bias, (1, 1), (1, 1), (1, 1), 1
            )
        else:
            x = nnf.conv2d(features, block.first, block.first_bias, padding=1).add_(joined).relu_()
        return self._conv_relu(x, block.second, block.second_bias)

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of the classes, and of some more that mean nothing."""
        return nnf.conv2d(x, self.weights.classify, self.weights.classify_bias)

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
        return self.classify(x)

    def _upsampled(self, level: int, x: torch.Tensor) -> torch.Tensor:
        of_pixels = nnf.conv2d(x, self.weights.decoder[level].up, padding=1)
        return upsampled_view(of_pixels.permute(0, 2, 3, 1).contiguous())

    def _constant(self, level: int, features: torch.Tensor, with_bias: bool) -> torch.Tensor:
        """Map of what does not depend on the input, of the features' size: `1 channel row col`."""
        n_rows, n_cols = features.shape[2:]
        block = self.weights.decoder[level]
        nine = block.constant + block.first_bias if with_bias else block.constant
        rows, cols = self._first_inner_last(n_rows, nine.device), self._first_inner_last(n_cols, nine.device)
        return nine.index_select(0, rows).index_select(1, cols).permute(2, 0, 1)[None]

    def _first_inner_last(self, n: int, device: torch.device) -> torch.Tensor:
        if n not in self._kinds:
            self._kinds[n] = torch.tensor([0, *[1] * (n - 2), 2]).to(device)
        return self._kinds[n]

    def _conv_relu(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        if self.fused:
            return torch.cudnn_convolution_relu(x, weight, bias, (1, 1), (1, 1), (1, 1), 1)
        return nnf.conv2d(x, weight, bias, padding=1).relu_()


@torch.inference_mode()
def fused_works(device: torch.device, dtype: torch.dtype) -> str:
    """Why cuDNN's fused convolutions cannot be used; empty if they can. Tried on a small batch, not looked up.

    Args:
        device: of the network.
        dtype: of its tensors.
    """
    if device.type != "cuda":
        return "no GPU"
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        tensor = torch.randn(shape, generator=generator).to(device, dtype)
        return tensor.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else tensor

    x, weight, bias, z = random(8, 32, 16, 16), random(16, 32, 3, 3), random(16), random(8, 16, 16, 16)
    plain = nnf.conv2d(x.float(), weight.float(), bias.float(), padding=1)
    try:
        fused = torch.cudnn_convolution_relu(x, weight, bias, (1, 1), (1, 1), (1, 1), 1).float()
        added = torch.cudnn_convolution_add_relu(x, weight, z, 1.0, bias, (1, 1), (1, 1), (1, 1), 1).float()
    except (RuntimeError, AttributeError, TypeError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0][:120]}"
    tolerance = 0.05 * float(plain.abs().max())
    wrong = max(float((fused - plain.relu()).abs().max()), float((added - (plain + z.float()).relu()).abs().max()))
    return "" if wrong <= tolerance else f"differs by {wrong:.2g}"
