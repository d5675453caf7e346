"""Flow without a model of the residue: Tikhonov-regularised deconvolution, a cross-check of the Fermi fit.

The residue `rho F R(s)` is piecewise linear between nodes; the sum of squared misfit and of squared second differences,
weighted with lambda, is least; lambda is the greatest of which generalised cross-validation (Golub, Heath and Wahba,
Technometrics 1979;21:215) is nearly least. Flow is the largest value of the residue at early lags, which regularisation
makes a little too small where the transit is short (Jerosch-Herold et al., J Magn Reson Imaging 2004;19:758).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.perfusion.fermi import convolution_matrix, sample
from pool.perfusion.fermi_model import PER_MINUTE, Curves, InputFunction

NODE_S = 1.0
"""Distance of nodes [s]."""
LONGEST_S = 30.0
"""Longest lag; the residue is 0 beyond [s]."""
EARLY_S = 8.0
"""Lags up to which the flow is looked for; late ones are badly known [s]."""
LAMBDAS = torch.logspace(-1.5, 3, 19, dtype=torch.float64)
"""Weights of the penalty that are tried, over the mean diagonal of the normal matrix."""

GOOD_ENOUGH = 1.1
"""Score over the least one that still counts as good."""


@dataclass(frozen=True, eq=False)
class ModelFreeFit:
    """Residues of many curves."""

    mbf_ml_min_g: Tensor
    """Blood flow, `curve` [mL/min/g]."""
    lags_s: Tensor
    """`node` [s]."""
    residue_per_s: Tensor
    """`rho F R`, `curve node` [1/s]."""
    fitted_mm: Tensor
    """`curve frame` [mmol/L]."""


def deconvolve(arterial: InputFunction, curves: Curves, delay_s: Tensor) -> ModelFreeFit:
    """Deconvolve curves whose arrival is known.

    Args:
        arterial: input function.
        curves: as for the Fermi fit; spill is left out.
        delay_s: arrival of each curve after the input function, for example of the Fermi fit, `curve` [s].
    """
    lags = torch.arange(0, LONGEST_S + NODE_S / 2, NODE_S, dtype=torch.float64)
    fine_lags = arterial.step_s * torch.arange(len(arterial.values_mm), dtype=torch.float64)
    hats = (1 - (fine_lags[None] - lags[:, None]).abs() / NODE_S).clamp(min=0)
    responses = hats @ convolution_matrix(arterial.values_mm, arterial.step_s)
    n_curves, n_frames = curves.values_mm.shape
    at = (curves.times_s - delay_s[:, None])[:, None].expand(-1, len(lags), -1).reshape(-1, n_frames)
    sampled = sample(responses.repeat(n_curves, 1), arterial.start_s, arterial.step_s, at)[0]
    root = curves.weights.sqrt()
    design = sampled.view(n_curves, len(lags), n_frames).transpose(1, 2) * root[:, :, None]
    target = curves.values_mm * root
    second = torch.diff(torch.eye(len(lags), dtype=torch.float64), n=2, dim=0)
    last = torch.zeros(1, len(lags), dtype=torch.float64)
    last[0, -1] = 1.0  # towards 0 at the end
    penalty = torch.cat([second, last]).T @ torch.cat([second, last])
    normal = design.transpose(1, 2) @ design
    scale = normal.diagonal(dim1=1, dim2=2).mean(1)
    seen = (curves.weights > 0).sum(1).to(torch.float64)
    scores, residues = [], []
    for weight in LAMBDAS:
        regular = normal + (weight * scale)[:, None, None] * penalty + 1e-12 * torch.eye(len(lags))
        inverse = torch.linalg.inv_ex(regular)[0]
        solution = (inverse @ (design.transpose(1, 2) @ target[:, :, None]))[:, :, 0]
        squares = ((target - (design @ solution[:, :, None])[:, :, 0]) ** 2).sum(1)
        n_used = (inverse * normal.transpose(1, 2)).sum((1, 2))
        scores.append(squares / (seen - n_used).clamp(min=1e-3) ** 2)
        residues.append(solution)
    score = torch.stack(scores)
    good = score <= GOOD_ENOUGH * score.amin(0)
    # the greatest weight whose score is as good as the best: the function is flat, and noise moves its minimum
    number = (good * torch.arange(1, len(LAMBDAS) + 1)[:, None]).argmax(0)
    residue = torch.stack(residues)[number, torch.arange(n_curves)]
    fitted = (sampled.view(n_curves, len(lags), n_frames).transpose(1, 2) @ residue[:, :, None])[:, :, 0]
    early = residue[:, lags <= EARLY_S]
    return ModelFreeFit(early.amax(1) * PER_MINUTE, lags, residue, fitted)
