"""When and where the scanner takes its slices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pool.phantom.dynamics import Bolus
from pool.phantom.grid import Grid
from pool.phantom.ranges import N_LEVELS, Draws, Range
from pool.series import SliceGeometry


def frame_times(draws: Draws, bolus: Bolus, n_frames: int) -> tuple[Tensor, float]:
    """Acquisition times `slice frame` [s], first frame of the study at 0, and the mean heart rate [1/min].

    All slices are taken in every heart beat, one after the other; a missed trigger leaves a beat out.
    """
    bpm = float(draws.subject(bolus.heart_rate_bpm)[0])
    variation = float(draws.subject(bolus.rate_variation)[0])
    beats = torch.randn(n_frames, generator=draws.generator).clamp(-2.5, 2.5)
    missed = torch.rand(n_frames, generator=draws.generator) < bolus.missed_trigger
    intervals = (60.0 / bpm) * (1 + variation * beats) * torch.where(missed, 2.0, 1.0)
    starts = torch.cat([torch.zeros(1), intervals.cumsum(0)[:-1]])
    within = min(0.9 * 60.0 / bpm / N_LEVELS, 0.28) * torch.arange(N_LEVELS)
    milliseconds = ((starts[None] + within[:, None]).double() * 1e3).round()
    return (milliseconds / 1e3).float(), bpm


def stack_geometry(draws: Draws, grid: Grid, centre_x_mm: Tensor, centre_y_mm: Tensor) -> tuple[SliceGeometry, ...]:
    """Oblique short-axis slices, base to apex along the LV's long axis (to the left, forwards and down).

    Image right is towards the patient's left and back, image down towards the feet.
    """
    towards_apex = np.array([0.65, -0.55, -0.52]) + 0.08 * draws.normal(3)[0].double().numpy()
    towards_apex /= np.linalg.norm(towards_apex)
    down = np.array([0.0, 0.0, -1.0])
    down -= towards_apex * (down @ towards_apex)
    down /= np.linalg.norm(down)
    right = np.cross(down, -towards_apex)
    distance_mm = float(draws.subject(Range(16.0, 24.0))[0])
    base = np.array([40.0, -30.0, 20.0]) + 10.0 * draws.normal(3)[0].double().numpy()
    slices = []
    for i in range(draws.n_slices):
        col_mm = float(centre_x_mm[i]) + (grid.n_cols - 1) / 2 * grid.spacing_mm
        row_mm = float(centre_y_mm[i]) + (grid.n_rows - 1) / 2 * grid.spacing_mm
        # one scan plane stack: the LV's small drift from slice to slice is the heart's, not the table's
        if i == 0:
            corner = base - right * col_mm - down * row_mm
        position = np.round(corner + towards_apex * distance_mm * i, 4)
        slices.append(SliceGeometry(tuple(position.tolist()), tuple(np.concatenate([right, down]).tolist())))
    return tuple(slices)
