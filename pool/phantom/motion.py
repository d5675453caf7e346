"""Residual motion: shifts and small changes of size, frame by frame, as separable resampling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.phantom.dynamics import Motion
from pool.phantom.ranges import Draws

KEYS_A = -0.5
"""Parameter of the cubic convolution (Keys, IEEE Trans ASSP 1981;29:1153)."""


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """Where the anatomy lies in every frame, tensors `slice frame`."""

    shift_row_mm: Tensor
    """Along the rows' index [mm]."""
    shift_col_mm: Tensor
    """Along the columns' index [mm]."""
    scale: Tensor
    """Size of the anatomy over its mean."""
    gain: Tensor
    """Brightness of the frame over its mean."""


def draw_motion(draws: Draws, motion: Motion, times_s: Tensor) -> FrameMotion:
    """What is left of breathing after motion correction.

    Args:
        draws: source of numbers.
        motion: distributions.
        times_s: frame times, `slice frame` [s].
    """
    n_frames = times_s.shape[1]
    left = draws.slice(motion.uncorrected)
    amplitude = (left * draws.subject(motion.breathing_mm))[:, None]
    phase = (
        2 * torch.pi * (times_s / draws.subject(motion.breathing_period_s)[:, None] + draws.subject_phase()[:, None])
    )
    breath = amplitude * (0.5 - 0.5 * torch.cos(phase)) ** 2
    failed = draws.happens(motion.failed_share)
    jitter = torch.where(failed, draws.slice(motion.failed_jitter_mm), draws.slice(motion.jitter_mm))[:, None]
    return FrameMotion(
        shift_row_mm=breath + jitter * draws.normal(n_frames),
        shift_col_mm=0.25 * breath + jitter * draws.normal(n_frames),
        scale=1 + 0.008 * jitter * draws.normal(n_frames),
        gain=1 + draws.slice(motion.gain_variation)[:, None] * draws.normal(n_frames),
    )


def cubic_matrix(positions_px: Tensor, n_in: int) -> Tensor:
    """Matrices that sample lines of `n_in` pixels at fractional positions by cubic convolution, edges repeated.

    Args:
        positions_px: `... n_out`.
        n_in: pixels of a line.

    Returns:
        `... n_out n_in`.
    """
    base = positions_px.floor()
    matrix = torch.zeros(*positions_px.shape, n_in, device=positions_px.device)
    for tap in range(-1, 3):
        index = base + tap
        d = (positions_px - index).abs()
        near = ((KEYS_A + 2) * d - (KEYS_A + 3)) * d**2 + 1
        far = KEYS_A * (((d - 5) * d + 8) * d - 4)
        weight = torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))
        matrix.scatter_add_(-1, index.long().clamp(0, n_in - 1).unsqueeze(-1), weight.unsqueeze(-1))
    return matrix


def resample(frames: Tensor, rows_px: Tensor, cols_px: Tensor) -> Tensor:
    """Sample frames at rows and columns that differ by frame.

    Args:
        frames: `slice frame row col`.
        rows_px, cols_px: `slice frame n_out` [px].
    """
    n, t, height, width = frames.shape
    rows = cubic_matrix(rows_px, height).flatten(0, 1)
    cols = cubic_matrix(cols_px, width).flatten(0, 1)
    moved = torch.bmm(torch.bmm(rows, frames.flatten(0, 1)), cols.transpose(1, 2))
    return moved.view(n, t, rows_px.shape[2], cols_px.shape[2])
