"""Curves of known flow, made by the phantom's kinetics, which share no code with the fit."""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from pool.perfusion.fermi_model import Curves, InputFunction
from pool.phantom.kinetics import Circulation, blood_curves, sample_curves, tissue_concentration

FINE_S = 0.02


def fine_blood(dose_mm_s: float = 60.0, seconds: float = 60.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Times and LV concentration on a fine grid."""
    times = torch.arange(int(seconds / FINE_S), dtype=torch.float64) * FINE_S
    values = (dose_mm_s, 8.0, 2.0, 3.5, 3.0, 2.5, 3.0, 3.0, 3.0, 8.0, 0.7)
    circulation = Circulation(*(torch.tensor([v], dtype=torch.float64) for v in values))
    return times, blood_curves(circulation, times)[2][0]


def fine_tissue(
    flows: torch.Tensor, delay_s: float, volume: float = 0.3, sharpness: float = 1.2
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Times, blood and tissue on the fine grid."""
    times, blood = fine_blood()
    late = sample_curves(blood[None, None], FINE_S, (times - delay_s)[None])[:, 0]
    same = torch.ones(1, len(flows), dtype=torch.float64)
    return times, blood, tissue_concentration(late, times, flows[None], volume * same, sharpness * same)[0]


def sampled(flows: torch.Tensor, interval_s: float, delay_s: float = 0.7) -> tuple[InputFunction, Curves]:
    """What a scanner with one frame every `interval_s` would see of known flows, without noise."""
    _, blood, tissue = fine_tissue(flows, delay_s)
    at = torch.arange(0, 55, interval_s, dtype=torch.float64)
    index = (at / FINE_S).round().long()
    step = min(0.25, interval_s / 4)
    grid = np.arange(0, 58, step)
    values = CubicSpline(at.numpy(), blood[index].numpy())(np.minimum(grid, float(at[-1])))
    curves = tissue[:, index]
    shape = (*curves.shape, 2)
    measured = Curves(curves, at.expand(len(flows), -1), torch.ones_like(curves), torch.zeros(shape, dtype=at.dtype))
    return InputFunction(0.0, step, torch.from_numpy(values)), measured
