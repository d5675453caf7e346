"""Contrast agent on its way: vein, right ventricle, lung, left ventricle, myocardium.

Everything is a convolution on a regular fine time grid, integrated here with the trapezoidal rule (second order in
the step) and shared with no fit. Concentrations are mmol per litre of whole blood or of tissue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TISSUE_DENSITY_G_PER_ML = 1.05
"""Density of myocardium [g/mL]."""
N_RECIRCULATIONS = 8
"""Returns of the bolus that are followed; later ones fall outside every series."""


def convolve(f: Tensor, g: Tensor, step_s: float) -> Tensor:
    """Causal convolution of two curves along the last axis by the trapezoidal rule.

    `(f * g)(t_n) = dt (sum_i f_i g_(n-i) - (f_0 g_n + f_n g_0) / 2)`; the error falls with dt^2 for curves that are
    smooth on [0, t].

    Args:
        f, g: curves on the same regular grid that starts at 0, `... time`.
        step_s: grid step [s].
    """
    n = f.shape[-1]
    size = 2 ** math.ceil(math.log2(2 * n))
    total = torch.fft.irfft(torch.fft.rfft(f, size) * torch.fft.rfft(g, size), size)[..., :n]
    return step_s * (total - 0.5 * (f[..., :1] * g + f * g[..., :1]))


def gamma_transit(times_s: Tensor, delay_s: Tensor, mean_s: Tensor, shape: Tensor) -> Tensor:
    """Transit-time density of unit area [1/s]: a gamma density after a delay.

    `h(t) = u^(k-1) exp(-u / b) / (b^k Gamma(k))`, `u = t - delay`, `b = mean / k`; the mean transit time is
    delay + mean (Davenport, J Nucl Med 1983;24:945).

    Args:
        times_s: grid `time` [s].
        delay_s, mean_s, shape: `slice`; `shape` is k > 1, large for a sharp front.
    """
    scale, k = (mean_s / shape)[:, None], shape[:, None]
    u = (times_s[None] - delay_s[:, None]) / scale
    inside = u.clamp(min=1e-6)
    density = torch.exp((k - 1) * torch.log(inside) - inside - torch.lgamma(k)) / scale
    return torch.where(u > 0, density, torch.zeros_like(density))


def injected_bolus(times_s: Tensor, arrival_s: Tensor, duration_s: Tensor, mean_s: Tensor, shape: Tensor) -> Tensor:
    """A constant infusion after the transit from vein to right ventricle, unit area [1/s].

    The exact convolution of a box with a gamma density: `(P(k, u(t)) - P(k, u(t - duration))) / duration`, P the
    regularised incomplete gamma function.

    Args:
        times_s: grid `time` [s].
        arrival_s, duration_s, mean_s, shape: `slice`: start of the rise, infusion time, mean and shape of the transit.
    """
    scale, k = (mean_s / shape)[:, None], shape[:, None]
    u = ((times_s[None] - arrival_s[:, None]) / scale).clamp(min=0)
    u_late = ((times_s[None] - arrival_s[:, None] - duration_s[:, None]) / scale).clamp(min=0)
    k = k.expand_as(u)
    return (torch.special.gammainc(k, u) - torch.special.gammainc(k, u_late)) / duration_s[:, None]


def fermi_residue(times_s: Tensor, mean_transit_s: Tensor, sharpness: Tensor) -> Tensor:
    """Fermi-shaped fraction of a bolus that is still in the tissue: 1 at t = 0.

    `R(t) = (1 + exp(-s)) / (1 + exp(s (t / tau - 1)))`, with tau so that the area of R is the mean transit time:
    `tau = MTT s / ((1 + exp(-s)) ln(1 + exp(s)))` (Jerosch-Herold et al., Med Phys 1998;25:73, normalised).

    Args:
        times_s: grid `time` [s].
        mean_transit_s, sharpness: `...`; a sharpness near 1 is close to exponential, 6 close to a plug.

    Returns:
        `... time`.
    """
    s = sharpness[..., None]
    tau = mean_transit_s[..., None] * s / ((1 + torch.exp(-s)) * torch.log1p(torch.exp(s)))
    return (1 + torch.exp(-s)) * torch.sigmoid(s * (1 - times_s / tau))


def tissue_concentration(
    arterial_mm: Tensor, times_s: Tensor, mbf_ml_min_g: Tensor, distribution_volume: Tensor, sharpness: Tensor
) -> Tensor:
    """Concentration in tissue of given blood flow [mmol/L].

    `c(t) = rho F integral R(t - s) c_a(s) ds`, F in mL/s/g, mean transit time `V / (rho F)`.

    Args:
        arterial_mm: whole-blood concentration in the left ventricle, `slice time` [mmol/L].
        times_s: regular grid from 0, `time` [s].
        mbf_ml_min_g: myocardial blood flow of several kinds of tissue, `slice flow` [mL/min/g].
        distribution_volume: volume per tissue volume relative to whole blood, `slice flow`.
        sharpness: shape of the Fermi function, `slice flow`.

    Returns:
        `slice flow time`.
    """
    flow_per_s = TISSUE_DENSITY_G_PER_ML * mbf_ml_min_g / 60.0
    residue = fermi_residue(times_s, distribution_volume / flow_per_s, sharpness)
    step_s = float(times_s[1] - times_s[0])
    return flow_per_s[..., None] * convolve(arterial_mm[:, None], residue, step_s)


@dataclass(frozen=True, eq=False)
class Circulation:
    """Parameters of the central circulation, all tensors `slice`."""

    area_mm_s: Tensor
    """Dose over cardiac output: area under the first pass [mmol/L s]."""
    arrival_s: Tensor
    """Start of the rise in the right ventricle [s]."""
    infusion_s: Tensor
    """Duration of the injection [s]."""
    venous_mean_s: Tensor
    """Mean transit from the vein to the right ventricle after the front has arrived [s]."""
    venous_shape: Tensor
    """Shape of that transit."""
    lung_delay_s: Tensor
    """Shortest transit through the lung [s]."""
    lung_mean_s: Tensor
    """Mean further transit through the lung [s]."""
    lung_shape: Tensor
    """Shape of that transit."""
    return_delay_s: Tensor
    """Shortest way from the left back to the right ventricle [s]."""
    return_mean_s: Tensor
    """Mean further transit of the return [s]."""
    return_fraction: Tensor
    """Share of the agent that comes back in the first pass through the body, the rest having left the blood."""


def blood_curves(
    circulation: Circulation, times_s: Tensor, first_pass_only: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Whole-blood concentrations in right ventricle, lung vessels and left ventricle, each `slice time` [mmol/L].

    Args:
        circulation: its parameters.
        times_s: regular grid from 0, `time` [s].
        first_pass_only: leave recirculation out; the areas of the three curves are then equal.
    """
    c, step_s = circulation, float(times_s[1] - times_s[0])
    half = 0.5
    lung = gamma_transit(times_s, c.lung_delay_s, c.lung_mean_s, c.lung_shape)
    to_vessels = gamma_transit(times_s, half * c.lung_delay_s, half * c.lung_mean_s, c.lung_shape)
    right = c.area_mm_s[:, None] * injected_bolus(times_s, c.arrival_s, c.infusion_s, c.venous_mean_s, c.venous_shape)
    if not first_pass_only:
        back = gamma_transit(times_s, c.return_delay_s, c.return_mean_s, torch.full_like(c.arrival_s, 2.0))
        loop = c.return_fraction[:, None] * convolve(lung, back, step_s)
        passing = right
        for _ in range(N_RECIRCULATIONS):
            passing = convolve(passing, loop, step_s)
            right = right + passing
    return right, convolve(right, to_vessels, step_s), convolve(right, lung, step_s)


def sample_curves(curves: Tensor, step_s: float, at_s: Tensor) -> Tensor:
    """Values of fine curves `slice curve time` at the frame times `slice frame`, linear between grid points.

    Times before 0 give the first, times after the grid the last value.
    """
    n = curves.shape[-1]
    position = (at_s / step_s).clamp(0, n - 1.001)
    left = position.floor().long()
    weight = (position - left)[:, None].to(curves.dtype)
    index = left[:, None].expand(-1, curves.shape[1], -1)
    return curves.gather(2, index) * (1 - weight) + curves.gather(2, index + 1) * weight
