"""Arrival, noise floor, dual-bolus calibration and proton-density frames, on curves whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from pool.errors import InconsistentStudyError, StudyError
from pool.perfusion.baseline import (
    FEWEST_CLEAR_FRAMES,
    arrival_s,
    baseline_frames,
    blood_baseline_frames,
    channel_noise,
    rician_factor,
    smoothed_away,
    without_noise_floor,
)
from pool.perfusion.blood_curve import BloodCurve, mask_on
from pool.perfusion.dual_bolus import match_boluses
from pool.perfusion.proton_density import ProtonDensity
from pool.perfusion.regions import SliceRegions, averaged_wall, inner_pool
from pool.perfusion.segment_parts import FEWEST_PART_PX, parts_of
from pool.perfusion.sequence import AGENTS, BLOOD, MYOCARDIUM, SequenceValues
from pool.phantom.signal import sr_flash_signal
from pool.series import PerfusionSeries, SliceGeometry
from tests.pool.perfusion.curves import FINE_S, fine_blood

FLASH = SequenceValues("flash", 0.1, 12.0, 0.0025, 0.0009, 3.0, 20)
AGENT = AGENTS[3.0]["gadobutrol"]


def signal(concentration: np.ndarray, unsaturated: float, flip_deg: float = 12.0) -> np.ndarray:
    """By the phantom's physics."""
    c, blood = torch.from_numpy(concentration), BLOOD[3.0]
    t1, t2_star = 1 / (1 / blood.t1_s + AGENT.r1 * c), 1 / (1 / blood.t2_star_s + AGENT.r2_star * c)
    values = (FLASH.ti_s, np.deg2rad(flip_deg), FLASH.tr_s, FLASH.te_s, 20.0)
    return sr_flash_signal(t1, t2_star, *(torch.tensor(v, dtype=torch.float64) for v in values), unsaturated).numpy()


def curve_of(dose: float, unsaturated: float, clock_s: float = 0.0, noise: float = 0.0) -> BloodCurve:
    _, blood = fine_blood(60.0 * dose)
    times = np.arange(0, 50, 0.8)
    values = signal(blood[(torch.from_numpy(times) / FINE_S).round().long()].numpy(), unsaturated)
    values = values + noise * np.random.default_rng(int(10 * dose)).normal(size=len(values))
    arrival = arrival_s(times, values, "blood")
    base = values[times <= arrival - 0.8].mean()
    return BloodCurve(times + clock_s, values / base, values, arrival + clock_s, np.ones((3, 3), dtype=bool))


def test_arrival_is_found_in_noise_and_in_spite_of_a_frame_that_jumps() -> None:
    times = np.arange(0, 40, 0.9)
    curve = 10 + np.where(times > 11.3, (times - 11.3) * 20, 0.0) * np.exp(-np.maximum(times - 11.3, 0) / 6)
    assert arrival_s(times, curve, "x") == pytest.approx(11.3, abs=0.5)
    noisy = curve + np.random.default_rng(1).normal(0, 2, len(times))
    noisy[3] += 25
    assert arrival_s(times, noisy, "x") == pytest.approx(11.3, abs=1.2)


def test_what_shows_no_bolus_or_begins_with_it_is_refused() -> None:
    times = np.arange(0, 30, 1.0)
    with pytest.raises(StudyError, match="blood: (must show the bolus|needs at least 2 frames)"):
        arrival_s(times, 100 + np.random.default_rng(1).normal(0, 1, 30), "blood")
    with pytest.raises(StudyError, match="blood: needs at least 2 frames before the bolus arrives"):
        arrival_s(times, 100 * np.exp(-(((times - 3) / 2) ** 2)) + 10, "blood")


def test_the_smooth_start_of_the_rise_is_no_part_of_bloods_baseline() -> None:
    times = np.arange(0, 30, 0.8)
    rising = 1 + 0.3 * np.maximum(times - 12, 0) ** 2 * np.exp(-np.maximum(times - 12, 0) / 2)
    arrival = arrival_s(times, rising, "blood")
    near, clear = baseline_frames(times, arrival), blood_baseline_frames(times, arrival)
    assert FEWEST_CLEAR_FRAMES <= clear.sum() < near.sum()
    assert rising[clear].mean() == pytest.approx(1.0, abs=1e-4)
    few = times > arrival - 4.0  # so few frames that the nearest are needed
    assert blood_baseline_frames(times[few], arrival).sum() == baseline_frames(times[few], arrival).sum()


def test_noise_and_signal_of_magnitudes_are_told_apart() -> None:
    rng = np.random.default_rng(1)
    for true_signal in (0.0, 1.0, 2.5, 20.0):
        magnitude = np.hypot(true_signal + rng.normal(size=(12, 4000)), rng.normal(size=(12, 4000)))
        noise = channel_noise(magnitude)
        assert noise == pytest.approx(1.0, abs=0.03)
        cleaned = float(without_noise_floor(magnitude.mean(keepdims=True), noise)[0, 0])
        assert cleaned == pytest.approx(true_signal, abs=0.1 if true_signal else 0.35)
    assert rician_factor(0.0) == pytest.approx(2 - np.pi / 2)
    assert rician_factor(50.0) == pytest.approx(1, abs=1e-3)
    assert without_noise_floor(np.array([3.0]), 0.0)[0] == 3.0


def test_resampling_smooths_the_noise_but_not_the_floor_that_it_made() -> None:
    rng = np.random.default_rng(1)
    acquired = np.hypot(2.0 + rng.normal(size=(9, 90, 90)), rng.normal(size=(9, 90, 90)))
    region = np.zeros((90, 90), dtype=bool)
    region[30:60, 30:60] = True
    assert smoothed_away(acquired, region) == pytest.approx(1.0, abs=0.06)
    shifts = (0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
    moved = np.stack([ndimage.shift(frame, (s, s), order=3, mode="nearest") for frame, s in zip(acquired, shifts)])
    moved[-1, 40:50, 20:90] += 5.0  # a vessel that fills early
    seen = channel_noise(moved[:8, region])
    lost = smoothed_away(moved[:8], region)
    assert seen < 0.9
    assert seen * lost**0.5 == pytest.approx(1.0, abs=0.06)
    assert smoothed_away(moved, region) == pytest.approx(lost, abs=0.15)
    mean = np.array([float(moved[:8, region].mean())])
    assert abs(without_noise_floor(mean, seen * lost**0.5)[0] - 2) < 0.5 * abs(without_noise_floor(mean, seen)[0] - 2)
    assert smoothed_away(acquired[:2], region) == 1.0
    assert smoothed_away(np.full((5, 90, 90), 7.0), region) == 1.0


@pytest.mark.parametrize("unsaturated", [0.01, 0.08])
def test_two_boluses_give_the_true_curve_the_saturation_and_the_clock(unsaturated: float) -> None:
    main, early = curve_of(1.0, unsaturated, noise=1e-4), curve_of(0.1, unsaturated, clock_s=-3.0, noise=1e-4)
    found = match_boluses(early, main, 10.0, BLOOD[3.0], AGENT, FLASH)
    truth = fine_blood()[1][(torch.from_numpy(main.times_s) / FINE_S).round().long()].numpy()
    assert found.unsaturated == pytest.approx(unsaturated, abs=0.004)
    assert found.offset_s == pytest.approx(3.0, abs=0.1)
    np.testing.assert_allclose(found.concentration_mm, truth, atol=0.04 * truth.max())
    assert found.concentration_mm.sum() == pytest.approx(truth.sum(), rel=0.02)


def test_a_main_bolus_that_no_scaling_of_the_prebolus_explains_is_refused() -> None:
    main, early = curve_of(1.0, 0.03), curve_of(0.1, 0.03)
    other = replace(main, relative=1 + 9.0 * (np.arange(len(main.times_s)) % 7 > 3))
    with pytest.raises(StudyError, match="the main bolus must be 10 times the prebolus; found a misfit of"):
        match_boluses(early, other, 10.0, BLOOD[3.0], AGENT, FLASH)


def test_blood_curves_need_rising_times() -> None:
    good = curve_of(0.1, 0.0)
    with pytest.raises(InconsistentStudyError, match="frame times must rise"):
        replace(good, times_s=good.times_s[::-1])


def ring() -> SliceRegions:
    radius = np.hypot(*(np.indices((64, 64)) - 32))
    return SliceRegions.of("mid", "mid", (radius >= 10) & (radius < 17), radius < 10, (1.8, 1.8))


def test_proton_density_tells_what_survives_saturation_and_every_pixels_baseline() -> None:
    regions, coils = ring(), 100 + np.arange(64)[None, :] * np.ones((64, 1))
    unsaturated, blood_t1 = 0.06, BLOOD[3.0]
    full = float(signal(np.zeros(1), 1.0, flip_deg=5.0)[0])
    frames = np.where(regions.left_pool, full, 0.0) * coils
    pixels = inner_pool(regions.left_pool, (1.8, 1.8))
    before = signal(np.zeros(6), unsaturated) * coils[pixels].mean()
    blood = BloodCurve(np.arange(6.0), before / before[0], before, 5.0, pixels)
    density = ProtonDensity(np.stack([frames, frames])[None], 5.0)
    assert density.unsaturated(0, blood, blood_t1, AGENT, FLASH) == pytest.approx(unsaturated, abs=1e-4)
    muscle = ProtonDensity(np.stack([coils, coils])[None], 5.0)
    surface = muscle.baseline(0, regions, (1.8, 1.8), MYOCARDIUM[3.0], AGENT, FLASH, 0.0)
    relative = surface[regions.myocardium] / coils[regions.myocardium]
    assert relative.std() < 0.02 * relative.mean()  # the coils' slope is in it
    assert (surface[~regions.myocardium] == 0).all()
    with pytest.raises(InconsistentStudyError, match="proton-density frames: must be slice frame row col"):
        ProtonDensity(np.zeros((3, 3)), 5.0)


def test_the_outer_rim_is_left_out_where_the_wall_is_thick_enough() -> None:
    regions = ring()
    whole = np.where(regions.myocardium, 7, 0)
    kept = averaged_wall(regions, whole, (1.8, 1.8))
    radius = np.hypot(*(np.indices((64, 64)) - 32))
    assert not kept[radius > 16].any()
    assert kept[(radius > 11) & (radius < 14)].all()
    thin = SliceRegions.of("mid", "mid", (radius >= 10) & (radius < 11), radius < 10, (1.8, 1.8))
    np.testing.assert_array_equal(averaged_wall(thin, np.where(thin.myocardium, 7, 0), (1.8, 1.8)), thin.myocardium)


def test_a_segments_parts_are_quarters_of_it() -> None:
    regions = ring()
    rows, cols = np.indices((64, 64))
    segment = regions.myocardium & (cols > 32) & (np.abs(rows - 32) < cols - 32)
    parts = parts_of(segment, regions, (1.8, 1.8))
    assert len(parts) == 4
    np.testing.assert_array_equal(np.sum(parts, axis=0), segment)  # disjoint, and nothing is left out
    assert max(p.sum() for p in parts) - min(p.sum() for p in parts) <= 2
    upper, lower = [p for p in parts if rows[p].mean() < 32], [p for p in parts if rows[p].mean() > 32]
    assert len(upper) == len(lower) == 2
    radius = np.hypot(rows - 32, cols - 32)
    for inner, outer in (upper, lower):
        assert radius[inner].max() <= radius[outer].min()
    few = np.zeros_like(segment)
    few.flat[np.flatnonzero(segment)[: 2 * FEWEST_PART_PX]] = True
    assert [int(p.sum()) for p in parts_of(few, regions, (1.8, 1.8))] == [FEWEST_PART_PX, FEWEST_PART_PX]
    few.flat[np.flatnonzero(few)[3:]] = False
    np.testing.assert_array_equal(parts_of(few, regions, (1.8, 1.8)), [few])


def test_a_mask_is_laid_on_another_grid_by_position_in_the_patient() -> None:
    def series(shape: tuple[int, int], spacing: float, corner: tuple[float, float, float] | None) -> PerfusionSeries:
        axes = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
        return PerfusionSeries(
            np.ones((1, 8, *shape), np.float32),
            np.arange(8.0)[None],
            (spacing, spacing),
            ("mid",),
            None if corner is None else (SliceGeometry(corner, axes),),
        )

    mask = np.zeros((40, 40), dtype=bool)
    mask[10:20, 20:30] = True
    # the other grid has pixels of 4 mm and starts 8 mm to the right and 4 mm down: (row, col) = (10..19, 20..29) of
    # 2 mm lie at 20..38 mm and 40..58 mm, hence at rows (20 - 4) / 4 = 4 .. 8.5 and columns (40 - 8) / 4 = 8 .. 12.5
    laid, there, remark = mask_on(mask, series((40, 40), 2.0, (5, 0, 0)), series((16, 16), 4.0, (5, 8, -4)), 0)
    rows, cols = np.nonzero(laid)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (4, 8, 8, 12)
    assert (there, remark) == (0, "")
    same, _, remark = mask_on(mask, series((40, 40), 2.0, None), series((20, 20), 4.0, None), 0)
    assert same.sum() == pytest.approx(25, abs=6)
    assert "same field of view" in remark
    with pytest.raises(StudyError, match="must show the LV cavity of the basal slice"):
        mask_on(mask, series((40, 40), 2.0, (5, 0, 0)), series((16, 16), 4.0, (5, 500, -4)), 0)
