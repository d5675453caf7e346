"""The Fermi function as residue of a tissue, and its convolution with an input function.

    c(t) = rho F (R * c_a)(t - d),   R(s) = (1 + exp(-k)) / (1 + exp(b s - k)),  R(0) = 1

F is the blood flow, d the delay, b the rate of the tail, k the length of the shoulder in units of 1 / b (Jerosch-Herold
et al., Med Phys 1998;25:73; Jacobs et al., IEEE Access 2021;9:52796). All on tensors, one row a curve.
"""

from __future__ import annotations

import torch
from torch import Tensor

DENSITY_G_PER_ML = 1.05
"""Density of myocardium [g/mL]."""


def residue(lags_s: Tensor, rate: Tensor, shoulder: Tensor) -> Tensor:
    """Fermi residue at lags from 0, `curve lag`.

    Args:
        lags_s: `lag` [s].
        rate, shoulder: `curve` [1/s], [1].
    """
    return (1 + torch.exp(-shoulder))[:, None] * torch.sigmoid(shoulder[:, None] - rate[:, None] * lags_s)


def residue_and_slopes(lags_s: Tensor, log_rate: Tensor, shoulder: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The residue and its derivatives by the logarithm of the rate and by the shoulder, each `curve lag`."""
    rate = torch.exp(log_rate)
    level = torch.sigmoid(shoulder[:, None] - rate[:, None] * lags_s)
    scale = (1 + torch.exp(-shoulder))[:, None]
    bend = scale * level * (1 - level)
    return scale * level, -bend * rate[:, None] * lags_s, bend - torch.exp(-shoulder)[:, None] * level


def mean_transit_s(rate: Tensor, shoulder: Tensor) -> Tensor:
    """Area of the residue [s]: `(1 + exp(-k)) ln(1 + exp(k)) / b`."""
    return (1 + torch.exp(-shoulder)) * torch.nn.functional.softplus(shoulder) / rate


def convolution_matrix(input_mm: Tensor, step_s: float) -> Tensor:
    """Matrix `lag time` that convolves rows of residues with an input function by the trapezoidal rule.

    Second order in the step for a residue that is smooth after 0 and an input that starts at 0.

    Args:
        input_mm: on a regular grid, `time` [mmol/L].
        step_s: its step [s].
    """
    n = len(input_mm)
    ago = torch.arange(n)[None, :] - torch.arange(n)[:, None]
    matrix = torch.where(ago >= 0, input_mm[ago.clamp(min=0)], torch.zeros((), dtype=input_mm.dtype))
    matrix[0] *= 0.5
    matrix -= 0.5 * input_mm[0] * torch.eye(n, dtype=input_mm.dtype)
    return step_s * matrix


def sample(curves: Tensor, start_s: float, step_s: float, at_s: Tensor) -> tuple[Tensor, Tensor]:
    """Values and slopes of curves on a regular grid at times of their own, by Keys' cubic convolution (third order).

    Args:
        curves: `curve time`.
        start_s, step_s: the grid [s].
        at_s: `curve frame`; before the grid the value is the first, after it the last.

    Returns:
        Values and slopes [1/s], `curve frame`.
    """
    n = curves.shape[1]
    position = ((at_s - start_s) / step_s).clamp(0, n - 1)
    left = position.floor().clamp(max=n - 2)
    u = position - left
    index = left.long()
    a, b, c, d = (curves.gather(1, (index + i).clamp(0, n - 1)) for i in (-1, 0, 1, 2))
    half = 0.5
    cubic, square, linear = half * (3 * (b - c) + d - a), half * (2 * a - 5 * b + 4 * c - d), half * (c - a)
    return ((cubic * u + square) * u + linear) * u + b, ((3 * cubic * u + 2 * square) * u + linear) / step_s
