"""Curves of segments and pixels of one slice, from frames to concentrations that can be fitted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.perfusion.baseline import baseline_frames, channel_noise, smoothed_away, without_noise_floor
from pool.perfusion.regions import SliceRegions
from pool.perfusion.signal import SignalTable
from pool.shapes import Mask

FEWEST_SURFACE_PX = 30
"""Pixels that a curved baseline surface needs; fewer get a constant."""
FEWEST_RV_PX = 5
"""Pixels of the RV whose signal is worth looking at."""


@dataclass(frozen=True, eq=False)
class TissueCurves:
    """Concentrations of some regions of one slice."""

    values_mm: np.ndarray
    """`curve frame` [mmol/L]."""
    weights: np.ndarray
    """Inverse variance of each sample over that before the bolus, `curve frame`; concentrations lose precision where
    the signal saturates."""
    spill_mm: np.ndarray
    """What a spill of 1 from LV and RV would add, `curve frame 2` [mmol/L]."""
    held: np.ndarray
    """Samples beyond what the signal can tell, `curve frame`."""


@dataclass(frozen=True, eq=False)
class SliceSignals:
    """What all curves of a slice share."""

    frames: np.ndarray
    """`time row col`, float64."""
    times_s: np.ndarray
    """`time`, on the clock of the main series [s]."""
    before: np.ndarray
    """Frames before the bolus, bool `time`."""
    noise: float
    """Standard deviation of the noise in each channel, as acquired."""
    baseline: np.ndarray
    """Signal before the bolus of every myocardial pixel, a smooth surface, the noise floor removed, `row col`."""
    cavities: np.ndarray
    """Enhancement of LV and RV blood, `time 2`, in the scanner's units; 0 where there is none."""


def slice_signals(
    frames: np.ndarray, times_s: np.ndarray, regions: SliceRegions, arrival: float, surface: np.ndarray | None = None
) -> SliceSignals:
    """Noise, baseline and cavities of a slice.

    The baseline of a pixel is that of a quadratic surface through all pixels' means: coils vary smoothly, and a few
    noisy frames of one pixel alone would decide on its flow.

    Args:
        frames: `time row col`.
        times_s: `time` [s].
        regions: of the slice.
        arrival: of the bolus in the LV [s].
        surface: baseline from proton-density frames instead, `row col`.
    """
    frames = frames.astype(np.float64)
    before = baseline_frames(times_s, arrival)
    muscle = frames[:, regions.myocardium]
    noise = channel_noise(muscle[before]) * smoothed_away(frames[before], regions.myocardium) ** 0.5
    baseline = surface
    if baseline is None:
        baseline = np.zeros(regions.myocardium.shape)
        fitted = _surface(np.argwhere(regions.myocardium).astype(float), muscle[before].mean(axis=0))
        baseline[regions.myocardium] = without_noise_floor(fitted, noise)
    left = ndimage.binary_erosion(regions.left_pool)
    cavities = np.zeros((len(times_s), 2))
    for column, pool in enumerate((left if left.any() else regions.left_pool, regions.right_pool)):
        if int(pool.sum()) >= FEWEST_RV_PX:
            curve = frames[:, pool].mean(axis=1)
            # the RV fills before the LV: its baseline ends earlier, at the first frames
            cavities[:, column] = curve - (curve[before].mean() if column == 0 else np.sort(curve[before])[:3].mean())
    return SliceSignals(frames, times_s, before, noise, baseline, cavities)


def _surface(points: np.ndarray, values: np.ndarray) -> np.ndarray:
    if len(points) < FEWEST_SURFACE_PX:
        return np.full(len(points), values.mean())
    y, x = ((points - points.mean(axis=0)) / 20.0).T
    design = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1)
    fitted = design @ np.linalg.lstsq(design, values, rcond=None)[0]
    return np.clip(fitted, 0.3 * values.mean(), 3 * values.mean())


def segment_curves(signals: SliceSignals, masks: list[Mask], table: SignalTable) -> TissueCurves:
    """One curve a mask: mean signals are turned into concentrations, not the other way round."""
    means = np.stack([signals.frames[:, mask].mean(axis=1) for mask in masks])
    base = np.array([signals.baseline[mask].mean() for mask in masks])
    return _curves(signals, without_noise_floor(means, signals.noise), base, table)


def pixel_curves(signals: SliceSignals, mask: Mask, table: SignalTable) -> TissueCurves:
    """One curve a pixel of the mask, in the order of `numpy.nonzero`."""
    values = without_noise_floor(signals.frames[:, mask].T, signals.noise)
    return _curves(signals, values, signals.baseline[mask], table)


def _curves(signals: SliceSignals, values: np.ndarray, base: np.ndarray, table: SignalTable) -> TissueCurves:
    base = np.maximum(base, 1e-6 * max(float(values.max()), 1e-6))
    concentration, held = table.concentration(values / base[:, None])
    # precision follows a smooth course, not the noise of single samples
    smooth = ndimage.uniform_filter1d(concentration, 5, axis=1)
    d = 1e-3
    slope = (table.relative(smooth + d) - table.relative(smooth - d)) / (2 * d)
    slope = np.maximum(slope, 0.05 * slope.max(axis=1, keepdims=True))
    reference = (table.relative(np.array([d])) - 1)[0] / d
    spill = signals.cavities[None] / (base[:, None, None] * slope[:, :, None])
    return TissueCurves(concentration, (slope / reference) ** 2, spill, held)
