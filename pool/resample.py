"""Separable resampling of images as two small matrix products, and back."""

from __future__ import annotations

import numpy as np

KEYS_A = -0.5
"""Parameter of Keys' cubic convolution (doi:10.1109/TASSP.1981.1163711): third-order accurate, exact on parabolas."""


def cubic_weights(n_in: int, positions: np.ndarray) -> np.ndarray:
    """Matrix that samples a line of `n_in` values at fractional `positions` by cubic convolution.

    Args:
        n_in: number of samples of the line.
        positions: where to sample [samples], 0 at the first sample's centre. Beyond the edge the line is continued by
            its last value for half a sample, then by zeros: there is no image there.

    Returns:
        float32 `position n_in`.
    """
    base = np.floor(positions).astype(np.int64)
    weights = np.zeros((len(positions), n_in), dtype=np.float64)
    for tap in range(-1, 3):
        distance = np.abs(positions - (base + tap))
        near = (KEYS_A + 2) * distance**3 - (KEYS_A + 3) * distance**2 + 1
        far = KEYS_A * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        value = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
        np.add.at(weights, (np.arange(len(positions)), np.clip(base + tap, 0, n_in - 1)), value)
    weights[(positions < -0.5) | (positions > n_in - 0.5)] = 0.0
    return weights.astype(np.float32)


def linear_weights(n_in: int, positions: np.ndarray) -> np.ndarray:
    """As `cubic_weights`, by linear interpolation: stays within the range of the values, for maps and masks."""
    inside = (positions >= -0.5) & (positions <= n_in - 0.5)
    clipped = np.clip(positions, 0, n_in - 1)
    base = np.minimum(np.floor(clipped).astype(np.int64), max(n_in - 2, 0))
    fraction = clipped - base
    weights = np.zeros((len(positions), n_in), dtype=np.float64)
    rows = np.arange(len(positions))
    np.add.at(weights, (rows, base), 1 - fraction)
    np.add.at(weights, (rows, np.minimum(base + 1, n_in - 1)), fraction)
    weights[~inside] = 0.0
    return weights.astype(np.float32)


def resample(images: np.ndarray, row_weights: np.ndarray, col_weights: np.ndarray) -> np.ndarray:
    """Apply a matrix to the rows and one to the columns of `... row col` images."""
    return np.matmul(np.matmul(row_weights, images), col_weights.T)
