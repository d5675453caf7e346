"""One pass through the scanner: shares of tissues and their signals in, magnitude frames out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.phantom.acquisition import coil_field, complex_noise, magnitude, noise_growth, reduce_by_kspace
from pool.phantom.grid import Grid
from pool.phantom.ranges import Draws, Range
from pool.phantom.scene import Scene
from pool.phantom.sequence import Sequence
from pool.phantom.tissue_curves import TISSUE

DARK_RIM_SHARE = 0.4
"""Share of slices with a dark rim beyond the one that k-space truncation makes by itself."""


@dataclass(frozen=True, eq=False)
class Receiver:
    """What the scanner does with the signal, tensors `slice` unless said otherwise."""

    row_window: Tensor
    """k-space weights along rows, in the FFT's order: `slice row`."""
    col_window: Tensor
    """The same along columns: `slice col`."""
    sigma: Tensor
    """Noise in each channel where it grows least, over the LV's peak signal."""
    acceleration: Tensor
    """Parallel-imaging factor."""
    chest_direction: Tensor
    """Unit vector from the heart to the surface coils: `slice 2`."""
    rim: Tensor
    """Depth of the additional dark rim, over the LV's signal."""


def draw_receiver(
    draws: Draws,
    sequence: Sequence,
    acceleration: Tensor,
    chest_direction: Tensor,
    row_window: Tensor,
    col_window: Tensor,
) -> Receiver:
    """Draw noise and dark rim; acceleration and k-space weights are the caller's."""
    return Receiver(
        row_window=row_window,
        col_window=col_window,
        sigma=draws.subject(sequence.noise),
        acceleration=acceleration,
        chest_direction=chest_direction,
        rim=draws.slice(Range(0.0, 0.25)) * draws.happens(DARK_RIM_SHARE),
    )


def acquire(
    draws: Draws,
    sequence: Sequence,
    receiver: Receiver,
    scene: Scene,
    signals: Tensor,
    gain: Tensor,
    fine: Grid,
    coarse: Grid,
    centre_x_mm: Tensor,
    centre_y_mm: Tensor,
) -> Tensor:
    """Frames on the coarse grid, whose pixel 0 lies where pixel 0 of the fine grid lies.

    Tissues are truncated in k-space before the frames are made: the two commute, and there are fewer tissues.

    Args:
        draws: source of numbers.
        sequence: for the coils' fall-off.
        receiver: drawn values.
        scene: tissues on the fine grid.
        signals: `slice tissue frame`, over the LV's peak.
        gain: brightness of each frame, `slice frame`.
        fine, coarse: grids of the same field of view.
        centre_x_mm, centre_y_mm: position of the LV from the fine grid's middle, `slice` [mm].

    Returns:
        `slice frame row col`, over the LV's peak.
    """
    shares = scene.shares.clone()
    shares[:, TISSUE["lv_blood"]] -= receiver.rim[:, None, None] * scene.dark_rim
    maps = reduce_by_kspace(shares, coarse.n_rows, coarse.n_cols, receiver.row_window, receiver.col_window)
    offset = (fine.spacing_mm - coarse.spacing_mm) / 2
    x_mm, y_mm = coarse.coordinates_mm(centre_x_mm - offset, centre_y_mm - offset)
    bias = coil_field(draws, sequence.coil_falloff, x_mm, y_mm, receiver.chest_direction)
    clean = torch.bmm(signals.transpose(1, 2), (maps * bias[:, None]).flatten(2)).unflatten(2, maps.shape[2:])
    growth = noise_growth(draws, receiver.acceleration, x_mm, y_mm)
    noise = complex_noise(draws, signals.shape[2], receiver.row_window, receiver.col_window)
    sigma = (receiver.sigma[:, None, None] * growth)[:, None]
    return magnitude(clean * gain[:, :, None, None], noise, sigma)
