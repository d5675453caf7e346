"""Separable resampling of images by a few taps along each axis, and back.

Sums of a few products, in a fixed order, instead of matrix products: the last bits of those depend on the number of
threads of the library underneath, and the same study must give the same bytes on a laptop and in a service.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

KEYS_A = -0.5
"""Parameter of Keys' cubic convolution (doi:10.1109/TASSP.1981.1163711): third-order accurate, exact on parabolas."""


@dataclass(frozen=True, eq=False)
class Taps:
    """Which samples of a line are summed, and with which weights, for every position it is sampled at."""

    indices: np.ndarray
    """int64 `position tap`: samples of the line."""
    weights: np.ndarray
    """float32 `position tap`: sum to 1, or are all 0 where there is no image."""

    def apply(self, images: np.ndarray, axis: int) -> np.ndarray:
        """Sample `axis` of the images at all positions; float32."""
        shape = [1] * images.ndim
        shape[axis] = len(self.indices)
        total: np.ndarray | None = None
        for tap in range(self.indices.shape[1]):
            term = np.take(images, self.indices[:, tap], axis) * self.weights[:, tap].reshape(shape)
            total = term if total is None else total + term
        assert total is not None  # there is at least one tap
        return total


def cubic_taps(n_in: int, positions: np.ndarray) -> Taps:
    """Sample a line of `n_in` values at fractional `positions` by cubic convolution.

    Args:
        n_in: number of samples of the line.
        positions: where to sample [samples], 0 at the first sample's centre. Beyond the edge the line is continued by
            its last value for half a sample, then by zeros: there is no image there.
    """
    base = np.floor(positions).astype(np.int64)
    indices = base[:, None] + np.arange(-1, 3)
    distance = np.abs(positions[:, None] - indices)
    near = (KEYS_A + 2) * distance**3 - (KEYS_A + 3) * distance**2 + 1
    far = KEYS_A * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    return _inside(n_in, positions, np.clip(indices, 0, n_in - 1), weights)


def linear_taps(n_in: int, positions: np.ndarray) -> Taps:
    """As `cubic_taps`, by linear interpolation: stays within the range of the values, for maps and masks."""
    clipped = np.clip(positions, 0, n_in - 1)
    base = np.minimum(np.floor(clipped).astype(np.int64), max(n_in - 2, 0))
    fraction = clipped - base
    indices = np.stack([base, np.minimum(base + 1, n_in - 1)], axis=1)
    return _inside(n_in, positions, indices, np.stack([1 - fraction, fraction], axis=1))


def _inside(n_in: int, positions: np.ndarray, indices: np.ndarray, weights: np.ndarray) -> Taps:
    inside = (positions >= -0.5) & (positions <= n_in - 0.5)
    return Taps(indices, np.where(inside[:, None], weights, 0.0).astype(np.float32))


def resample(images: np.ndarray, rows: Taps, cols: Taps) -> np.ndarray:
    """Resample `... row col` images along both axes; float32."""
    return cols.apply(rows.apply(images, images.ndim - 2), images.ndim - 1)
