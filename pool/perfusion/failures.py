"""Which fits are no measurement, and why: a failed fit is a mask and a reason, never a silent number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.perfusion.fermi_fit import FermiFit
from pool.perfusion.fermi_model import Curves

REASONS = (
    "",
    "negative concentrations: the signal falls below its baseline",
    "no enhancement that stands out of the noise",
    "flow at its upper bound",
    "the model explains too little of the curve, as after motion",
    "flow is known too poorly",
)
"""By code; 0 is no failure."""


@dataclass(frozen=True)
class Criteria:
    """When a fit counts as failed."""

    least_r_squared: float
    """Share of the curve that must be explained."""
    most_relative_error: float
    """Standard error over flow at most."""


SEGMENTS = Criteria(0.96, 0.25)
"""Means of many pixels: what the model leaves is not noise."""
PIXELS = Criteria(0.6, 0.75)
"""Single pixels, whose noise is large."""
LEAST_SNR = 2.0
"""Mean concentration after the arrival over its standard error, at least."""


def failure_codes(fit: FermiFit, curves: Curves, arrival_s: float, criteria: Criteria) -> Tensor:
    """Code of the first reason that applies to each curve, int64 `curve`, 0 where there is none."""
    after = ((curves.times_s >= arrival_s + 2.0) & (curves.weights > 0)).to(torch.float64)
    n = after.sum(1).clamp(min=1)
    mean = (after * curves.values_mm).sum(1) / n
    noise = torch.sqrt(fit.variance / n)
    tests = (
        mean < -LEAST_SNR * noise,
        (mean <= LEAST_SNR * noise) | (fit.mbf_ml_min_g <= 0),
        fit.at_bound,
        ~(fit.r_squared >= criteria.least_r_squared),
        ~(fit.standard_error <= criteria.most_relative_error * fit.mbf_ml_min_g),
    )
    codes = torch.zeros(len(curves), dtype=torch.int64)
    for code, failed in reversed(list(enumerate(tests, 1))):
        codes = torch.where(failed, torch.full_like(codes, code), codes)
    return codes
