"""The phantom's physics against closed forms, limits and conservation laws."""

from __future__ import annotations

import math

import pytest
import torch

from pool.phantom.acquisition import complex_noise, kspace_window, magnitude, reduce_by_kspace
from pool.phantom.kinetics import (
    Circulation,
    blood_curves,
    convolve,
    fermi_residue,
    gamma_transit,
    injected_bolus,
    sample_curves,
    tissue_concentration,
)
from pool.phantom.motion import cubic_matrix
from pool.phantom.ranges import Draws
from pool.phantom.signal import (
    bssfp_steady_state,
    flash_steady_state,
    recovered_magnetisation,
    sr_bssfp_signal,
    sr_flash_signal,
)

T1, T2, TR, TE = (torch.tensor([v], dtype=torch.float64) for v in (1.2, 0.05, 0.0025, 0.001))
FLIP = torch.tensor([math.radians(12)], dtype=torch.float64)
NONE, MANY = torch.tensor([0.0], dtype=torch.float64), torch.tensor([20000.0], dtype=torch.float64)
LONG, NO_TIME = torch.tensor([100.0], dtype=torch.float64), torch.tensor([0.0], dtype=torch.float64)


def slices(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64)


def circulation() -> Circulation:
    values = (40.0, 5.0, 2.0, 4.0, 2.5, 2.0, 3.0, 3.0, 3.0, 8.0, 0.8)
    return Circulation(*(slices(v) for v in values))


def test_nothing_recovers_at_once_and_everything_after_long() -> None:
    assert float(recovered_magnetisation(NO_TIME, T1)) == 0.0
    assert float(recovered_magnetisation(LONG, T1)) == pytest.approx(1.0, abs=1e-12)
    assert float(sr_flash_signal(T1, T2, NO_TIME, FLIP, TR, NO_TIME, NONE)) == 0.0
    assert float(sr_flash_signal(T1, T2, LONG, FLIP, TR, NO_TIME, NONE)) == pytest.approx(math.sin(math.radians(12)))


def test_balanced_signals_start_at_nothing_and_end_at_full_magnetisation() -> None:
    assert float(sr_bssfp_signal(T1, T2, NO_TIME, FLIP, TR, NO_TIME, NONE)) == 0.0
    full = sr_bssfp_signal(T1, T2, LONG, FLIP, TR, NO_TIME, NONE)
    assert float(full) == pytest.approx(math.sin(math.radians(6)))  # the half pulse of the preparation tips all of M0


def test_an_imperfect_pulse_leaves_its_share() -> None:
    assert float(recovered_magnetisation(NO_TIME, T1, 0.1)) == pytest.approx(0.1)
    left = sr_flash_signal(T1, T2, NO_TIME, FLIP, TR, NO_TIME, NONE, slices(0.1))
    assert float(left) == pytest.approx(0.1 * math.sin(math.radians(12)))


def test_many_pulses_reach_the_steady_states() -> None:
    flash = sr_flash_signal(T1, T2, LONG, FLIP, TR, NO_TIME, MANY)
    assert float(flash) == pytest.approx(float(torch.sin(FLIP) * flash_steady_state(T1, FLIP, TR)), rel=1e-9)
    balanced = sr_bssfp_signal(T1, T2, LONG, FLIP, TR, NO_TIME, MANY)
    assert float(balanced) == pytest.approx(float(bssfp_steady_state(T1, T2, FLIP, TR)), rel=1e-9)


def test_flash_recursion_equals_the_closed_form() -> None:
    e1, m = float(torch.exp(-TR / T1)), 0.0
    for _ in range(20):
        m = (m * math.cos(math.radians(12)) - 1) * e1 + 1
    closed = sr_flash_signal(T1, T2, TR * 20, FLIP, TR, NO_TIME, slices(20.0))
    assert float(closed) == pytest.approx(math.sin(math.radians(12)) * m, rel=1e-9)


def test_bssfp_steady_state_equals_a_bloch_simulation() -> None:
    e1, e2, a = float(torch.exp(-TR / T1)), float(torch.exp(-TR / T2)), math.radians(40)
    mx, mz = 0.0, 1.0
    for _ in range(20000):
        mx, mz = mx * math.cos(a) + mz * math.sin(a), mz * math.cos(a) - mx * math.sin(a)
        seen = mx
        mx, mz = -mx * e2, 1 - (1 - mz) * e1  # phase alternation of the pulses turns the transverse part
    assert abs(seen) == pytest.approx(float(bssfp_steady_state(T1, T2, slices(a), TR)), rel=1e-6)


@pytest.mark.parametrize("degrees", [26, 35, 50])
def test_balanced_signals_approach_their_steady_state_as_a_bloch_simulation_does(degrees: int) -> None:
    a, n = math.radians(degrees), 20
    e1, e2, h1, h2 = (float(torch.exp(-share * TR / t)) for share in (1.0, 0.5) for t in (T1, T2))
    m = 1 - math.exp(-(0.1 - n * float(TR)) / float(T1))
    mx, mz = -m * math.sin(a / 2) * h2, 1 - (1 - m * math.cos(a / 2)) * h1
    for _ in range(n):
        mx, mz = mx * math.cos(a) + mz * math.sin(a), mz * math.cos(a) - mx * math.sin(a)
        seen = mx
        mx, mz = -mx * e2, 1 - (1 - mz) * e1
    closed = sr_bssfp_signal(T1, T2, slices(0.1), slices(a), TR, NO_TIME, slices(float(n)))
    assert float(closed) == pytest.approx(seen, rel=0.02)  # T1* is exact for small E1 - 1 and E2 - 1


def test_shorter_t1_is_brighter_until_t2_decay_wins() -> None:
    short = sr_flash_signal(slices(0.1), T2, slices(0.1), FLIP, TR, TE, slices(20.0))
    assert float(short) > float(sr_flash_signal(T1, T2, slices(0.1), FLIP, TR, TE, slices(20.0)))


def test_areas_are_conserved_from_vein_to_left_ventricle() -> None:
    times = torch.arange(0, 120, 0.1, dtype=torch.float64)
    right, lung, left = blood_curves(circulation(), times, first_pass_only=True)
    for curve in (right, lung, left):
        assert float(curve.sum() * 0.1) == pytest.approx(40.0, rel=1e-3)


def test_recirculation_adds_the_geometric_series() -> None:
    times = torch.arange(0, 600, 0.2, dtype=torch.float64)
    right = blood_curves(circulation(), times)[0]
    assert float(right.sum() * 0.2) == pytest.approx(40.0 * sum(0.8**k for k in range(9)), rel=2e-3)


def test_the_bolus_is_the_convolution_of_box_and_transit() -> None:
    step = 0.005
    times = torch.arange(0, 30, step, dtype=torch.float64)
    box = ((times >= 0) & (times < 2.0)).double() / 2.0
    transit = gamma_transit(times, slices(5.0), slices(4.0), slices(2.5))
    closed = injected_bolus(times, slices(5.0), slices(2.0), slices(4.0), slices(2.5))
    assert torch.allclose(convolve(box[None], transit, step), closed, atol=1e-3)


def test_fermi_starts_at_one_and_has_the_mean_transit_time_as_area() -> None:
    times = torch.arange(0, 200, 0.01, dtype=torch.float64)
    for sharpness in (0.5, 2.0, 6.0):
        residue = fermi_residue(times, slices(7.0), slices(sharpness))[0]
        assert float(residue[0]) == pytest.approx(1.0)
        assert float(torch.trapezoid(residue, times)) == pytest.approx(7.0, rel=1e-3)


def test_tissue_curves_converge_with_the_square_of_the_step() -> None:
    def peak(step: float) -> torch.Tensor:
        times = torch.arange(0, 64, step, dtype=torch.float64)
        left = blood_curves(circulation(), times)[2]
        tissue = tissue_concentration(left, times, slices(3.0)[:, None], slices(0.35)[:, None], slices(2.0)[:, None])
        return tissue[0, 0, :: round(1.0 / step)]

    exact = peak(1 / 64)
    errors = [float((peak(step) - exact).abs().max()) for step in (0.5, 0.25, 0.125)]
    orders = [math.log2(errors[i] / errors[i + 1]) for i in (0, 1)]
    assert all(1.7 < order < 2.5 for order in orders), orders


def test_a_long_plateau_fills_the_distribution_volume() -> None:
    times = torch.arange(0, 300, 0.1, dtype=torch.float64)
    plateau = torch.ones(1, len(times), dtype=torch.float64)
    tissue = tissue_concentration(plateau, times, slices(1.0)[:, None], slices(0.4)[:, None], slices(2.0)[:, None])
    assert float(tissue[0, 0, -1]) == pytest.approx(0.4, rel=1e-3)


def test_the_first_second_of_tissue_is_flow_times_arterial_area() -> None:
    times = torch.arange(0, 10, 0.01, dtype=torch.float64)
    plateau = torch.ones(1, len(times), dtype=torch.float64)
    tissue = tissue_concentration(plateau, times, slices(2.0)[:, None], slices(0.5)[:, None], slices(6.0)[:, None])
    assert float(tissue[0, 0, 100]) == pytest.approx(1.05 * 2.0 / 60, rel=0.01)


def test_curves_are_sampled_linearly_and_hold_their_ends() -> None:
    curves = torch.tensor([[[0.0, 1.0, 4.0]]])
    assert sample_curves(curves, 0.5, torch.tensor([[-1.0, 0.25, 0.75]]))[0, 0].tolist() == [0.0, 0.5, 2.5]


def test_magnitude_noise_is_rician() -> None:
    draws = Draws(torch.Generator().manual_seed(3), 1)
    noise = complex_noise(draws, 20, torch.ones(3, 64), torch.ones(3, 64))
    sigma = torch.tensor(0.5)
    empty = magnitude(torch.zeros(3, 20, 64, 64), noise, sigma)
    assert float(empty.mean()) == pytest.approx(0.5 * math.sqrt(math.pi / 2), rel=0.01)
    assert float(empty.var()) == pytest.approx((2 - math.pi / 2) * 0.25, rel=0.02)
    bright = magnitude(torch.full((3, 20, 64, 64), 10.0), noise, sigma)
    assert float(bright.mean()) == pytest.approx(math.hypot(10.0, 0.5), rel=1e-3)
    assert float(bright.std()) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize("ratio", [0.5, 1.5, 4.0])
def test_rician_moments_hold_where_neither_limit_does(ratio: float) -> None:
    from scipy import stats

    draws = Draws(torch.Generator().manual_seed(8), 1)
    noise = complex_noise(draws, 20, torch.ones(3, 64), torch.ones(3, 64))
    seen = magnitude(torch.full((3, 20, 64, 64), 0.5 * ratio), noise, torch.tensor(0.5))
    rice = stats.rice(ratio, scale=0.5)
    assert float(seen.mean()) == pytest.approx(float(rice.mean()), rel=0.01)
    assert float(seen.var()) == pytest.approx(float(rice.var()), rel=0.02)


def test_noise_keeps_its_level_when_k_space_is_cut() -> None:
    draws = Draws(torch.Generator().manual_seed(4), 1)
    window = kspace_window(64, torch.tensor([0.6, 0.6, 0.6]), torch.tensor([0.2, 0.2, 0.2]))
    noise = complex_noise(draws, 20, window, window)
    assert float(noise.real.std()) == pytest.approx(1.0, rel=0.05)


def test_k_space_reduction_keeps_means_positions_and_rings_at_edges() -> None:
    fine = torch.zeros(1, 1, 64, 64)
    fine[..., 20:40, 10:50] = 1.0
    full = torch.tensor([1.0]), torch.tensor([0.0])
    window = kspace_window(32, *full)
    coarse = reduce_by_kspace(fine, 32, 32, window, window)
    assert float(coarse.mean()) == pytest.approx(float(fine.mean()), rel=1e-5)
    assert float(coarse[0, 0, 15, 15]) == pytest.approx(1.0, abs=0.1)
    assert float(coarse.max()) > 1.05  # Gibbs overshoot: the origin of the dark rim
    assert float(coarse.min()) < -0.05


def test_cubic_resampling_is_exact_on_parabolas_and_at_pixels() -> None:
    line = torch.arange(12, dtype=torch.float32) ** 2
    matrix = cubic_matrix(torch.tensor([3.0, 4.25, 6.5]), 12)
    assert torch.allclose(matrix @ line, torch.tensor([9.0, 4.25**2, 6.5**2]), atol=1e-4)
