"""Where a curve begins to rise, what it was before, and what magnitude images add to weak signals."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from pool.errors import StudyError
from pool.shapes import Mask

FEWEST_BASELINE_FRAMES = 2
"""Frames before the arrival that a baseline is the mean of, at least."""
MARGIN_S = 0.8
"""The break of a broken line lies this much after the first trace of a rise that starts smoothly [s]."""
CLEAR_S = 2 * MARGIN_S
"""Of blood, whose smooth start counts: what has come in by `MARGIN_S` before the break lifts the baseline of a prebolus
by 0.1 %, and so lowers its concentrations by 0.2 % [s]."""
FEWEST_CLEAR_FRAMES = 4
"""Frames clear of the rise that are enough for a baseline."""
UPSLOPE_SHARE = 0.7
"""Of the way from baseline to peak: samples up to there decide on the arrival."""
LEAST_RISE = 6.0
"""Rise of a bolus over the scatter of its baseline, at least."""
MOST_SMOOTHED = 2.0
"""Variance of the noise as acquired over that of resampled frames at most: cubic convolution by half a pixel both ways
leaves 0.41 of it, in the mean over all shifts 0.6."""
SHARP_SHARE = 1 / 3
"""Of the frames, those with most noise, which were resampled least."""


def arrival_s(times_s: np.ndarray, curve: np.ndarray, subject: str) -> float:
    """When a bolus arrives: the break of a constant and a straight line, fitted to all samples up to the upslope.

    All earlier samples take part, so that one that jumps does not look like an arrival.

    Args:
        times_s, curve: `time`.
        subject: whose curve, for error texts.

    Raises:
        StudyError: no rise, or one that began before the series did.
    """
    width = np.array([0.25, 0.5, 0.25])
    smooth = np.convolve(np.pad(curve, 1, mode="edge"), width, mode="valid")
    peak = int(smooth.argmax())
    low = float(np.quantile(smooth[: peak + 1], 0.1))
    over = np.flatnonzero(smooth[: peak + 1] > low + UPSLOPE_SHARE * (smooth[peak] - low))
    end = max(int(over[0]), 1) + 1 if over.size else peak + 1
    t, y = times_s[:end], curve[:end]
    candidates = np.linspace(t[0], t[-1], 20 * len(t))[:-1]
    best, least = float(t[0]), np.inf
    for candidate in candidates:
        ramp = np.maximum(t - candidate, 0)
        design = np.stack([np.ones_like(t), ramp], 1)
        solution, *_ = np.linalg.lstsq(design, y, rcond=None)
        cost = float(((y - design @ solution) ** 2).sum())
        if cost < least * (1 - 1e-9) and solution[1] > 0:
            best, least = float(candidate), cost
    n_before = int((times_s <= best - MARGIN_S).sum())
    if n_before < FEWEST_BASELINE_FRAMES:
        raise StudyError(
            subject,
            f"needs at least {FEWEST_BASELINE_FRAMES} frames before the bolus arrives, to know the signal without it",
            f"arrival {best - times_s[0]:.1f} s after the first frame, {n_before} frames before it",
            "Start the series earlier; flow cannot be measured from this one.",
        )
    before = curve[times_s <= best - MARGIN_S]
    scatter = float(np.std(before)) if len(before) > 2 else 0.0
    rise = float(smooth[peak] - before.mean())
    if rise <= max(LEAST_RISE * scatter, 0.1 * abs(float(before.mean()))):
        raise StudyError(
            subject,
            "must show the bolus",
            f"a rise of {rise:.3g} over a baseline of {before.mean():.3g}",
            "Was contrast agent given, and does the series hold the first pass?",
        )
    return best


def baseline_frames(times_s: np.ndarray, arrival: float) -> np.ndarray:
    """Which frames show no contrast agent yet: bool, of the shape of the times."""
    return np.asarray(times_s <= arrival - MARGIN_S)


def blood_baseline_frames(times_s: np.ndarray, arrival: float) -> np.ndarray:
    """Frames that blood's baseline is the mean of, bool `time`: clear of the rise by `CLEAR_S` where enough are."""
    clear = np.asarray(times_s <= arrival - CLEAR_S)
    return clear if int(clear.sum()) >= FEWEST_CLEAR_FRAMES else baseline_frames(times_s, arrival)


def rician_factor(snr: np.ndarray | float) -> np.ndarray:
    """Variance of a Rician magnitude over that of each channel, at a signal-to-noise ratio (Koay and Basser, J Magn
    Reson 2006;179:317, eq. 19)."""
    square = np.minimum(np.asarray(snr, dtype=float), 100.0) ** 2
    bessel = (2 + square) * special.ive(0, square / 4) + square * special.ive(1, square / 4)
    return 2 + square - np.pi / 8 * bessel**2


def channel_noise(frames: np.ndarray) -> float:
    """Standard deviation of the noise in each channel, from frames in which nothing happens, `time pixel`.

    Variances over time are pooled over the pixels and corrected for being those of magnitudes (Koay and Basser).

    Returns:
        0 where there are fewer than three frames.
    """
    if len(frames) < 3:
        return 0.0
    variance = float(frames.var(axis=0, ddof=1).mean())
    mean = float(frames.mean())
    if variance <= 0:
        return 0.0
    snr = mean / float(np.sqrt(variance))
    for _ in range(30):
        square = float(rician_factor(snr)) * (1 + mean**2 / variance) - 2
        snr = float(np.sqrt(max(square, 0.0)))
    return float(np.sqrt(variance / float(rician_factor(snr))))


def smoothed_away(frames: np.ndarray, region: Mask) -> float:
    """Variance of the noise as acquired over its mean in frames that motion correction resampled.

    Resampling smooths the noise of magnitudes but keeps their mean, and with it the floor that the noise made before.
    How much it smooths depends on the fraction of a pixel that a frame is moved by: the third of the frames with most
    noise is nearest to what was acquired. A frame's noise is the median deviation from the mean frame, over the
    flatter half of the pixels about a region: neither vessels that fill nor edges that move decide on it.

    Args:
        frames: in which nothing happens, `time row col`.
        region: what lies within about its own size from it takes part.

    Returns:
        1 to `MOST_SMOOTHED`; 1 where there are fewer than three frames or no noise.
    """
    n = len(frames)
    if n < 3:
        return 1.0
    rows, cols = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    window = tuple(slice(max(2 * at[0] - at[-1], 0), 2 * at[-1] - at[0] + 1) for at in (rows, cols))
    near = frames[(slice(None), *window)].astype(np.float64)
    mean = near.mean(axis=0)
    slope = np.hypot(*np.gradient(ndimage.gaussian_filter(mean, 1.0)))
    noisy = near.var(axis=0) > 0  # scanners set what lies outside the body to 0
    if not noisy.any():
        return 1.0
    flat = noisy & (slope <= np.median(slope[noisy]))
    square = np.median(np.abs(near[:, flat] - mean[flat]), axis=1) ** 2
    each = (square - square.mean() / (n - 1)) / (1 - 2 / n)  # the mean frame holds a part of every frame's noise
    sharpest = np.sort(each)[-max(2, round(SHARP_SHARE * n)) :].mean()
    return float(np.clip(sharpest / (square.mean() * n / (n - 1)), 1.0, MOST_SMOOTHED))


def without_noise_floor(magnitude: np.ndarray, noise: float) -> np.ndarray:
    """Signal whose magnitude in noise has this mean: `S^2 = M^2 - (2 - xi(S / noise)) noise^2`.

    Args:
        magnitude: mean magnitudes, any shape.
        noise: standard deviation in each channel; 0 changes nothing.
    """
    if noise <= 0:
        return np.asarray(magnitude)
    signal = np.asarray(magnitude, dtype=float)
    for _ in range(6):
        square = magnitude**2 - (2 - rician_factor(signal / noise)) * noise**2
        signal = np.sqrt(np.maximum(square, 0))
    return signal
