"""Fermi-constrained deconvolution of many curves at once: best of a dictionary, then damped Gauss-Newton steps.

The steps are Marquardt's (J SIAM 1963;11:431) with analytic derivatives, each curve with its own damping, within
bounds. Standard errors are those of the linearised fit with the residual's variance; parameters at a bound count as
known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.perfusion.fermi_model import (
    DELAY,
    FLOW,
    LOG_RATE,
    N_PARAMETERS,
    PER_MINUTE,
    SHOULDER,
    SPILL_LEFT,
    Curves,
    FermiModel,
    InputFunction,
)
from pool.perfusion.settings import FermiSettings

EDGE = 1e-9
"""How near to a bound counts as at it."""
DAMPING = (1e-3, 0.2, 6.0)
"""At the start; its factor after a step that helped, and after one that did not."""


@dataclass(frozen=True, eq=False)
class Prior:
    """Gaussian knowledge of the parameters, `parameter`; it counts against the residual's variance."""

    mean: Tensor
    sd: Tensor
    """Infinite where nothing is known."""


@dataclass(frozen=True, eq=False)
class FermiFit:
    """Fits of many curves, all tensors `curve ...`, float64."""

    parameters: Tensor
    """`curve parameter`, see `pool.perfusion.fermi_model`."""
    mbf_ml_min_g: Tensor
    """Blood flow [mL/min/g]."""
    standard_error: Tensor
    """Of the flow [mL/min/g]."""
    variance: Tensor
    """Of the residual, weighted [mmol^2/L^2]."""
    r_squared: Tensor
    """Share of the weighted sum of squares that is explained."""
    at_bound: Tensor
    """Whether the flow ended at its upper bound: bool."""
    fitted_mm: Tensor
    """Fitted curves, `curve frame` [mmol/L]."""

    @property
    def delay_s(self) -> Tensor:
        """Arrival after the input function [s]."""
        return self.parameters[:, DELAY]

    @property
    def shoulder(self) -> Tensor:
        """Shoulder of the residue."""
        return self.parameters[:, SHOULDER]

    @property
    def rate_per_s(self) -> Tensor:
        """Rate of the residue's tail [1/s]."""
        return torch.exp(self.parameters[:, LOG_RATE])


def prior_from(fit: FermiFit, settings: FermiSettings) -> Prior:
    """What the curves of one heart say about each of them: the medians of shoulder and delay; spill about 0."""
    mean = torch.zeros(N_PARAMETERS, dtype=torch.float64)
    sd = torch.full((N_PARAMETERS,), torch.inf, dtype=torch.float64)
    mean[SHOULDER], mean[DELAY] = fit.shoulder.median(), fit.delay_s.median()
    sd[SHOULDER], sd[DELAY], sd[SPILL_LEFT:] = settings.shoulder_sd, settings.delay_sd_s, settings.spill_sd
    return Prior(mean, sd)


def fit_fermi(
    arterial: InputFunction,
    curves: Curves,
    settings: FermiSettings | None = None,
    prior: Prior | None = None,
) -> FermiFit:
    """Fit flow, rate, shoulder and delay to every curve, and with a prior also the spill.

    Args:
        arterial: input function that covers all times.
        curves: what to fit.
        settings: bounds.
        prior: knowledge of the parameters; without one there is no spill. With one the fit is made twice: the first
            time without it, for the residual's variance.
    """
    settings = settings or FermiSettings()
    free = Curves(curves.values_mm, curves.times_s, curves.weights, torch.zeros_like(curves.spill_mm))
    model = FermiModel(arterial, free, settings)
    fit = _descend(model, free, model.best_of_dictionary(), settings.n_steps)
    if prior is None:
        return fit
    penalty = fit.variance[:, None] / prior.sd**2
    return _descend(
        FermiModel(arterial, curves, settings), curves, fit.parameters, settings.n_steps, penalty, prior.mean
    )


def _descend(
    model: FermiModel,
    curves: Curves,
    start: Tensor,
    n_steps: int,
    penalty: Tensor | None = None,
    mean: Tensor | None = None,
) -> FermiFit:
    """`n_steps` damped steps; a curve takes a step only where it lowers its cost."""
    penalty = torch.zeros_like(start) if penalty is None else penalty
    mean = torch.zeros(N_PARAMETERS, dtype=start.dtype) if mean is None else mean

    def cost_of(values: Tensor, at: Tensor) -> Tensor:
        return (curves.weights * (curves.values_mm - values) ** 2).sum(1) + (penalty * (at - mean) ** 2).sum(1)

    first, less, more = DAMPING
    p = model.clamp(start)
    damping = torch.full((len(p),), first, dtype=p.dtype)
    values, slopes = model(p)
    cost = cost_of(values, p)
    for _ in range(n_steps):
        gradient = torch.einsum("ntp,nt->np", slopes, curves.weights * (curves.values_mm - values))
        gradient = gradient - penalty * (p - mean)
        held = ((p <= model.low + EDGE) & (gradient < 0)) | ((p >= model.high - EDGE) & (gradient > 0))
        normal = _normal(slopes, curves.weights, penalty, held)
        diagonal = normal.diagonal(dim1=1, dim2=2).clamp(min=1e-12)
        damped = normal + torch.diag_embed(damping[:, None] * diagonal)
        step = torch.linalg.solve_ex(damped, gradient.masked_fill(held, 0.0)[:, :, None])[0][:, :, 0].nan_to_num()
        tried = model.clamp(p + step)
        new_values, new_slopes = model(tried)
        new_cost = cost_of(new_values, tried)
        better = new_cost < cost
        p = torch.where(better[:, None], tried, p)
        values = torch.where(better[:, None], new_values, values)
        slopes = torch.where(better[:, None, None], new_slopes, slopes)
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping * less, damping * more).clamp(1e-9, 1e9)
    return _conclude(model, curves, p, values, slopes, penalty)


def _normal(slopes: Tensor, weights: Tensor, penalty: Tensor, held: Tensor) -> Tensor:
    """Normal matrices `curve parameter parameter` in which held parameters have the unit row."""
    free = (~held).to(slopes.dtype)
    j = slopes * free[:, None, :]
    return (j * weights[:, :, None]).transpose(1, 2) @ j + torch.diag_embed(1 - free + penalty * free)


def _conclude(
    model: FermiModel, curves: Curves, p: Tensor, values: Tensor, slopes: Tensor, penalty: Tensor
) -> FermiFit:
    held = (p <= model.low + EDGE) | (p >= model.high - EDGE)
    at_bound = p[:, FLOW] >= model.high[:, FLOW] - EDGE
    held[:, FLOW] = False
    normal = _normal(slopes, curves.weights, penalty, held)
    inverse = torch.linalg.inv_ex(normal + 1e-12 * torch.eye(N_PARAMETERS, dtype=p.dtype))[0]
    n_free = (~held[:, :SPILL_LEFT]).sum(1)
    freedom = ((curves.weights > 0).sum(1) - n_free).clamp(min=1)
    squares = (curves.weights * (curves.values_mm - values) ** 2).sum(1)
    variance = squares / freedom
    whole = (curves.weights * curves.values_mm**2).sum(1).clamp(min=1e-30)
    return FermiFit(
        parameters=p,
        mbf_ml_min_g=p[:, FLOW] * PER_MINUTE,
        standard_error=torch.sqrt(variance * inverse[:, FLOW, FLOW].clamp(min=0)) * PER_MINUTE,
        variance=variance,
        r_squared=1 - squares / whole,
        at_bound=at_bound,
        fitted_mm=values,
    )
