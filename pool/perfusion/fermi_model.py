"""A tissue curve and its derivatives by everything that is fitted, many curves at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.perfusion.fermi import DENSITY_G_PER_ML, convolution_matrix, residue_and_slopes, sample
from pool.perfusion.settings import FermiSettings

FLOW, LOG_RATE, SHOULDER, DELAY, SPILL_LEFT, SPILL_RIGHT = range(6)
"""Columns of the parameters: flow [1/s], logarithm of the rate, shoulder, delay [s], spill from LV and RV."""
N_PARAMETERS = 6
PER_MINUTE = 60.0 / DENSITY_G_PER_ML
"""mL/min/g in one 1/s of tissue volume."""
DELAY_STEP_S = 0.25
"""Of the dictionary."""


@dataclass(frozen=True, eq=False)
class InputFunction:
    """Concentration in arterial blood on a regular grid that starts before the arrival."""

    start_s: float
    """Time of the first value [s]."""
    step_s: float
    """Grid step [s]."""
    values_mm: Tensor
    """float64 `time`, 0 at the start [mmol/L]."""


@dataclass(frozen=True, eq=False)
class Curves:
    """Tissue curves to be fitted, float64."""

    values_mm: Tensor
    """Concentrations, `curve frame` [mmol/L]."""
    times_s: Tensor
    """Of the frames, on the clock of the input function, `curve frame` [s]; curves of one slice share a row."""
    weights: Tensor
    """Inverse variances up to a factor, `curve frame`; 0 leaves a sample out."""
    spill_mm: Tensor
    """What a spill of 1 from LV and RV would add, `curve frame 2` [mmol/L]; 0 where there is none."""

    def __len__(self) -> int:
        """Number of curves."""
        return len(self.values_mm)


class FermiModel:
    """`c(t) = rho F (R * c_a)(t - d) + spill`, with derivatives.

    Args:
        arterial: input function.
        curves: for their times and spill.
        settings: bounds.
    """

    def __init__(self, arterial: InputFunction, curves: Curves, settings: FermiSettings) -> None:
        self._arterial, self._curves = arterial, curves
        self._matrix = convolution_matrix(arterial.values_mm, arterial.step_s)
        self._lags_s = arterial.step_s * torch.arange(len(arterial.values_mm), dtype=torch.float64)
        s = settings
        edges = (s.mbf_ml_min_g, s.rate_per_s, s.shoulder, s.delay_s, s.spill, s.spill)
        bounds = torch.tensor(edges, dtype=torch.float64)
        bounds[FLOW] /= PER_MINUTE
        bounds[LOG_RATE] = torch.log(bounds[LOG_RATE])
        self.low, self.high = bounds[:, 0].expand(len(curves), -1), bounds[:, 1].expand(len(curves), -1)
        without = (curves.spill_mm == 0).all(1)  # nothing to spill: the parameter is held at 0
        held = torch.cat([torch.zeros(len(curves), SPILL_LEFT, dtype=torch.bool), without], 1)
        self.low, self.high = (edge.masked_fill(held, 0.0) for edge in (self.low, self.high))

    def __call__(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Values `curve frame` and derivatives `curve frame parameter`."""
        n = len(p)
        fine = torch.cat(residue_and_slopes(self._lags_s, p[:, LOG_RATE], p[:, SHOULDER])) @ self._matrix
        at = (self._curves.times_s - p[:, DELAY, None]).repeat(3, 1)
        sampled, speed = sample(fine, self._arterial.start_s, self._arterial.step_s, at)
        flow = p[:, FLOW, None]
        unit, by_rate, by_shoulder = sampled[:n], sampled[n : 2 * n], sampled[2 * n :]
        values = flow * unit + (p[:, None, SPILL_LEFT:] * self._curves.spill_mm).sum(2)
        slopes = torch.stack([unit, flow * by_rate, flow * by_shoulder, -flow * speed[:n]], 2)
        return values, torch.cat([slopes, self._curves.spill_mm], 2)

    def clamp(self, p: Tensor) -> Tensor:
        """Parameters within their bounds."""
        return torch.minimum(torch.maximum(p, self.low), self.high)

    def best_of_dictionary(self) -> Tensor:
        """The best of a grid of shapes and delays for every curve, without spill: `curve parameter`.

        The flow enters linearly, so for all curves, shapes and delays the best flow and its misfit are two matrix
        products: the start is a global optimum and depends on no guess.
        """
        curves, arterial = self._curves, self._arterial
        low, high = self.low[0], self.high[0]
        rates = torch.linspace(float(low[LOG_RATE]), float(high[LOG_RATE]), 24, dtype=torch.float64)
        shoulders = torch.linspace(float(low[SHOULDER]), float(high[SHOULDER]), 5, dtype=torch.float64)
        n_delays = int((high[DELAY] - low[DELAY]) / DELAY_STEP_S) + 1
        delays = torch.linspace(float(low[DELAY]), float(high[DELAY]), n_delays, dtype=torch.float64)
        shape = torch.cartesian_prod(rates, shoulders)
        fine = residue_and_slopes(self._lags_s, shape[:, 0], shape[:, 1])[0] @ self._matrix
        best = torch.zeros(len(curves), N_PARAMETERS, dtype=torch.float64)
        distinct, group = torch.unique(curves.times_s, dim=0, return_inverse=True)
        for number, times in enumerate(distinct):
            mine = group == number
            at = (times[None] - delays[:, None]).flatten().expand(len(fine), -1)
            sampled = sample(fine, arterial.start_s, arterial.step_s, at)[0]
            atoms = sampled.view(len(fine), n_delays, -1).transpose(0, 1).flatten(0, 1)
            weights = curves.weights[mine]
            product = (weights * curves.values_mm[mine]) @ atoms.T
            square = (weights @ (atoms**2).T).clamp(min=1e-30)
            flow = (product / square).clamp(float(low[FLOW]), float(high[FLOW]))
            chosen = (flow * (2 * product - flow * square)).argmax(1)
            best[mine, FLOW] = flow.gather(1, chosen[:, None])[:, 0]
            best[mine, LOG_RATE : SHOULDER + 1] = shape[chosen % len(shape)]
            best[mine, DELAY] = delays[chosen // len(shape)]
        return best
