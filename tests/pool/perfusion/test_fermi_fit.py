"""Fits of known flows: recovered, converging with the frame interval and the noise, and as other programs see them."""

from __future__ import annotations

from dataclasses import replace

import dcmri
import numpy as np
import pytest
import torch

from pool.errors import SettingsError
from pool.perfusion.failures import PIXELS, REASONS, failure_codes
from pool.perfusion.fermi import convolution_matrix, mean_transit_s, residue, residue_and_slopes, sample
from pool.perfusion.fermi_fit import Prior, fit_fermi, prior_from
from pool.perfusion.fermi_model import DELAY, N_PARAMETERS, PER_MINUTE, SPILL_LEFT, Curves
from pool.perfusion.model_free import deconvolve
from pool.perfusion.settings import FermiSettings
from tests.pool.perfusion.curves import sampled

FLOWS = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


def one(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def test_residue_starts_at_one_and_its_area_is_the_mean_transit_time() -> None:
    lags = torch.arange(0, 400, 0.01, dtype=torch.float64)
    for rate, shoulder in ((0.2, 0.0), (0.5, 3.0)):
        curve = residue(lags, one(rate), one(shoulder))[0]
        assert float(curve[0]) == pytest.approx(1.0, abs=1e-12)
        assert float(torch.trapezoid(curve, lags)) == pytest.approx(
            float(mean_transit_s(one(rate), one(shoulder))), rel=1e-5
        )


def test_slopes_of_the_residue_are_its_finite_differences() -> None:
    lags = torch.linspace(0, 30, 50, dtype=torch.float64)
    log_rate, shoulder, d = one(-1.2), one(0.8), 1e-6
    _, by_rate, by_shoulder = residue_and_slopes(lags, log_rate, shoulder)
    moved = residue_and_slopes(lags, log_rate + d, shoulder)[0] - residue_and_slopes(lags, log_rate - d, shoulder)[0]
    torch.testing.assert_close(by_rate, moved / (2 * d), atol=1e-8, rtol=1e-6)
    moved = residue_and_slopes(lags, log_rate, shoulder + d)[0] - residue_and_slopes(lags, log_rate, shoulder - d)[0]
    torch.testing.assert_close(by_shoulder, moved / (2 * d), atol=1e-8, rtol=1e-6)


def test_convolution_of_an_exponential_residue_is_that_of_dcmri() -> None:
    step, rate = 0.05, 0.2
    times = np.arange(0, 40, step)
    blood = np.where(times > 4, (times - 4) * np.exp(-(times - 4) / 3), 0.0)
    ours = torch.exp(-rate * torch.from_numpy(times))[None] @ convolution_matrix(torch.from_numpy(blood), step)
    theirs = dcmri.conc_comp(blood, 1 / rate, t=times)
    np.testing.assert_allclose(ours[0].numpy(), theirs, atol=2e-3 * theirs.max())


def test_dcmri_deconvolves_our_curve_to_the_flow_it_was_made_with() -> None:
    arterial, curves = sampled(FLOWS[2:3], 0.25)
    fit = fit_fermi(arterial, curves)
    step = float(curves.times_s[0, 1] - curves.times_s[0, 0])
    blood = sample(arterial.values_mm[None], 0.0, arterial.step_s, curves.times_s - fit.delay_s[:, None])[0][0].numpy()
    start = int(np.flatnonzero(blood > 0.01)[0])
    tissue = curves.values_mm[0].numpy()[start:]
    response = dcmri.deconv(tissue, blood[start:], dt=step, method="TSVD", tol=0.02)
    assert response.max() * PER_MINUTE == pytest.approx(float(fit.mbf_ml_min_g[0]), rel=0.15)


def test_flow_converges_with_the_second_power_of_the_frame_interval_or_better() -> None:
    errors = []
    for interval in (2.0, 1.0, 0.5):
        fit = fit_fermi(*sampled(FLOWS, interval))
        errors.append(float((fit.mbf_ml_min_g / FLOWS - 1).abs().max()))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert (orders > 1.8).all(), (errors, orders)
    assert errors[1] < 0.005


def test_error_falls_in_proportion_to_the_noise_and_the_standard_error_tells_it() -> None:
    arterial, clean = sampled(FLOWS[1:2].repeat(150), 1.0)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(clean.values_mm.shape, generator=generator, dtype=torch.float64)
    found = []
    for sigma in (0.02, 0.01, 0.005):
        fit = fit_fermi(arterial, replace(clean, values_mm=clean.values_mm + sigma * noise))
        spread = float((fit.mbf_ml_min_g - 1.0).std())
        found.append(spread)
        assert float(fit.standard_error.median()) == pytest.approx(spread, rel=0.3)
    assert found[0] / found[1] == pytest.approx(2, rel=0.15)
    assert found[1] / found[2] == pytest.approx(2, rel=0.15)


def test_delay_is_found_and_does_not_change_the_flow() -> None:
    for delay in (0.0, 1.7):
        arterial, curves = sampled(FLOWS, 1.0, delay)
        fit = fit_fermi(arterial, curves)
        torch.testing.assert_close(fit.delay_s, torch.full_like(FLOWS, delay), atol=0.02, rtol=0)
        torch.testing.assert_close(fit.mbf_ml_min_g, FLOWS, atol=0, rtol=0.006)


def test_a_curve_is_fitted_alike_alone_and_in_company() -> None:
    arterial, curves = sampled(FLOWS, 1.0)
    alone = Curves(curves.values_mm[3:4], curves.times_s[3:4], curves.weights[3:4], curves.spill_mm[3:4])
    together = fit_fermi(arterial, curves).mbf_ml_min_g[3:4]
    torch.testing.assert_close(fit_fermi(arterial, alone).mbf_ml_min_g, together, atol=1e-7, rtol=0)


def test_spill_from_a_cavity_is_told_from_flow() -> None:
    arterial, curves = sampled(FLOWS, 1.0)
    right = torch.exp(-(((curves.times_s - 13.0) / 1.5) ** 2))
    spill = torch.stack([torch.zeros_like(right), right], 2)
    dirty = Curves(curves.values_mm + 0.12 * right, curves.times_s, curves.weights, spill)
    plain = fit_fermi(arterial, dirty)
    mean, sd = (
        torch.zeros(N_PARAMETERS, dtype=torch.float64),
        torch.full((N_PARAMETERS,), torch.inf, dtype=torch.float64),
    )
    sd[SPILL_LEFT:] = 1.0
    cleaned = fit_fermi(arterial, dirty, prior=Prior(mean, sd))
    assert float((cleaned.mbf_ml_min_g / FLOWS - 1).abs().max()) < 0.01
    assert float((plain.mbf_ml_min_g / FLOWS - 1).abs().max()) > 0.03


def test_prior_draws_a_noisy_delay_to_that_of_the_heart() -> None:
    arterial, curves = sampled(FLOWS, 1.0)
    prior = prior_from(fit_fermi(arterial, curves), FermiSettings(delay_sd_s=0.05))
    noisy = curves.values_mm + 0.15 * torch.randn(curves.values_mm.shape, generator=torch.Generator().manual_seed(2))
    free, drawn = (fit_fermi(arterial, replace(curves, values_mm=noisy), prior=p) for p in (None, prior))
    assert float(drawn.delay_s.std()) < 0.5 * float(free.delay_s.std())
    assert float(prior.mean[DELAY]) == pytest.approx(0.7, abs=0.02)


def test_flow_without_a_model_agrees() -> None:
    arterial, curves = sampled(FLOWS, 1.0)
    free = deconvolve(arterial, curves, torch.full_like(FLOWS, 0.7))
    torch.testing.assert_close(free.mbf_ml_min_g[1:], FLOWS[1:], atol=0, rtol=0.12)


def test_curves_that_are_no_measurement_have_a_reason_each() -> None:
    arterial, curves = sampled(FLOWS[:1].repeat(4), 1.0)
    noise = torch.randn(curves.values_mm.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values = torch.stack([curves.values_mm[0] + 0.001 * noise[0], -curves.values_mm[1], 0.05 * noise[2], 9 * noise[3]])
    values[3] = 30 * curves.values_mm[3]
    dirty = replace(curves, values_mm=values)
    codes = failure_codes(fit_fermi(arterial, dirty), dirty, 8.0, PIXELS)
    reasons = [REASONS[int(code)] for code in codes]
    assert reasons[0] == ""
    assert reasons[1] == "negative concentrations: the signal falls below its baseline"
    assert reasons[2] == "no enhancement that stands out of the noise"
    assert reasons[3] == "flow at its upper bound"


def test_impossible_bounds_are_refused_in_words() -> None:
    with pytest.raises(SettingsError, match="bounds of the delay: its bounds must rise; found 2 to 1"):
        FermiSettings(delay_s=(2.0, 1.0))
    with pytest.raises(SettingsError, match="spread of the spill: must be positive; found 0"):
        FermiSettings(spill_sd=0.0)


def test_a_curve_that_mixes_flows_gives_less_than_their_mean_and_its_parts_do_not() -> None:
    arterial, parts = sampled(torch.tensor([3.5, 0.7], dtype=torch.float64), 0.7)
    mixed = replace(
        parts,
        values_mm=parts.values_mm.mean(0, keepdim=True),
        times_s=parts.times_s[:1],
        weights=parts.weights[:1],
        spill_mm=parts.spill_mm[:1],
    )
    assert float(fit_fermi(arterial, mixed).mbf_ml_min_g) < 0.95 * 2.1
    assert float(fit_fermi(arterial, parts).mbf_ml_min_g.mean()) == pytest.approx(2.1, rel=0.02)
