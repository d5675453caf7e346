"""Find the heart in each slice of a series, as the place where contrast agent makes the left ventricle bright.

The paper crops automatically (its reference 30) and does not say more; this is our method. Both ventricles enhance far
above anything else in the chest and within a few beats, the right one some seconds before the left one. Pixels that
do so by more than half of the maximum are split by their time of arrival, and the largest compact late region is the
LV cavity. All slices of a study are looked at together, because their long axis is nearly straight: one odd slice is
overruled.

Measured on 36 phantom studies of the clinical presets: distance from the true wall's centre 4 mm (median), 12 mm at
most; on 36 of the `broad` preset, which is far beyond any scan, 35 within 18 mm and one lost.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from pool.errors import HeartNotFoundError
from pool.series import PerfusionSeries
from pool.shapes import Map, SliceFrames

SMOOTHING_MM = 2.5
"""Standard deviation of the spatial Gaussian: below the wall thickness, above the noise."""
STEEP_FRACTION = 1 / 12
"""Share of the series over which the steepest rise is measured: about five beats of a minute."""
LEAST_CONTRAST_TO_NOISE = 10.0
"""Enhancement of the brightest 2 cm^2 over the frame-to-frame noise; pure noise reaches about 5."""
LEAST_RELATIVE_ENHANCEMENT = 0.25
"""The same, over the brightness of the slice: a bolus at least brightens blood by a quarter of what is there."""
LEAST_AREA_MM2 = 200.0
"""A heart enhances over several cm^2; less is a vessel or a flicker."""
PRIOR_SIGMA_MM = 30.0
"""How far a slice's LV may plausibly lie from the study's."""
MOST_DEVIATION_MM = 25.0
"""Beyond this distance from the other slices, a slice's own finding is overruled by theirs."""

_ROWS_AT_ONCE = 8


def locate_heart(series: PerfusionSeries) -> list[tuple[float, float]]:
    """Centre of the LV on every slice, in native pixels (row, col).

    Raises:
        HeartNotFoundError: a slice in which nothing enhances like a heart; names the slice and what was found.
    """
    assert series.pixel_spacing_mm is not None  # prepared slices are never located again
    n_joined = np.maximum(1, np.floor(SMOOTHING_MM / np.array(series.pixel_spacing_mm))).astype(int)
    spacing = n_joined * np.array(series.pixel_spacing_mm)
    images = [_joined(series.frames[i], n_joined) for i in range(series.n_slices)]
    late_maps = [_late_enhancement(images[i], spacing, series.slice_names[i]) for i in range(series.n_slices)]
    pooled = ndimage.gaussian_filter(np.sum(late_maps, axis=0), PRIOR_SIGMA_MM / 4 / spacing)
    study_centre = np.array(np.unravel_index(int(pooled.argmax()), pooled.shape), dtype=float)
    centres = np.array([_largest_region(late, spacing, study_centre) for late in late_maps])
    median = np.median(centres, axis=0)
    too_far = np.hypot(*((centres - median) * spacing).T) > MOST_DEVIATION_MM
    centres[too_far] = median
    centres = (centres + 0.5) * n_joined - 0.5
    return [(float(row), float(col)) for row, col in centres]


def _late_enhancement(frames: SliceFrames, spacing: np.ndarray, name: str) -> Map:
    """Enhancement where it arrives late and strong enough to be the LV cavity, else 0."""
    smooth = _smoothed(frames, SMOOTHING_MM / spacing)
    # The whole rise times the steepest one: blood fills within a few beats, liver and chest wall brighten slowly.
    lag = max(2, round(len(frames) * STEEP_FRACTION))
    most, steepest, brightest, arrival = (np.empty(frames.shape[1:], dtype=np.float32) for _ in range(4))
    steps = np.empty((len(frames) - 1, *frames.shape[1:]), dtype=np.float32)
    for rows in _row_blocks(frames.shape[1]):
        block = smooth[:, rows]
        baseline = np.sort(block, axis=0)[: max(2, len(frames) // 8)].mean(axis=0)
        rise = block - baseline
        most[rows] = rise.max(axis=0)
        steepest[rows] = (block[lag:] - block[:-lag]).max(axis=0)
        brightest[rows] = block.max(axis=0)
        arrival[rows] = (rise > 0.5 * most[rows]).argmax(axis=0)
        steps[:, rows] = np.abs(np.diff(block, axis=0))
    peak = np.sqrt(most * np.maximum(steepest, 0.0))
    noise = 1.4826 * _median(steps) / np.sqrt(2)
    brightness = float(np.percentile(brightest, 90))
    n_least = max(1, round(LEAST_AREA_MM2 / float(spacing.prod())))
    if peak.size < n_least:
        raise HeartNotFoundError(f"slice {name}", "must be larger than a heart", f"{peak.shape} pixels")
    strong = float(np.partition(peak.ravel(), -n_least)[-n_least])  # exceeded over an area of 2 cm^2
    if strong <= max(LEAST_CONTRAST_TO_NOISE * noise, LEAST_RELATIVE_ENHANCEMENT * brightness, 0.0):
        raise HeartNotFoundError(
            f"slice {name}",
            f"a first pass must brighten at least {LEAST_AREA_MM2 / 100:.0f} cm^2 by {LEAST_RELATIVE_ENHANCEMENT:.0%}",
            f"{strong / max(brightness, 1e-9):.0%}, {strong / max(noise, 1e-9):.1f} times the noise",
            "Is this a perfusion series with contrast agent?",
        )
    candidate = peak > 0.5 * strong
    late = candidate & (arrival >= _split(arrival[candidate].astype(float)))
    return np.where(late, np.minimum(peak, strong), 0.0).astype(np.float32)


def _joined(frames: np.ndarray, n_joined: np.ndarray) -> np.ndarray:
    """Means of blocks of pixels, no larger than what is smoothed away anyhow: fine images cost no more than coarse."""
    (n_rows, n_cols), n_frames = n_joined.tolist(), len(frames)
    rows, cols = frames.shape[1] // n_rows, frames.shape[2] // n_cols
    if (n_rows == 1 and n_cols == 1) or rows == 0 or cols == 0:
        return frames
    total = np.zeros((n_frames, rows, cols), dtype=np.float32)
    for row in range(n_rows):
        for col in range(n_cols):
            total += frames[:, row : rows * n_rows : n_rows, col : cols * n_cols : n_cols]
    total /= n_rows * n_cols
    return total


def _median(values: np.ndarray) -> np.floating:
    """As `numpy.median`, in half the time: numpy sorts faster than it selects."""
    ordered = np.sort(values, axis=None)
    return ordered[(ordered.size - 1) // 2 : ordered.size // 2 + 1].mean()


def _smoothed(frames: SliceFrames, sigma_px: np.ndarray) -> SliceFrames:
    """Smoothed in the image, then over three frames."""
    smooth = np.empty_like(frames)
    for image, sink in zip(frames, smooth, strict=True):
        ndimage.gaussian_filter(image, sigma_px, output=sink)
    for rows in _row_blocks(frames.shape[1]):
        curves = np.ascontiguousarray(np.moveaxis(smooth[:, rows], 0, -1))
        smooth[:, rows] = np.moveaxis(ndimage.uniform_filter1d(curves, 3, axis=-1), -1, 0)
    return smooth


def _row_blocks(n_rows: int) -> Iterator[slice]:
    """A few rows at a time: with all their frames they stay in the processor's cache."""
    return (slice(i, i + _ROWS_AT_ONCE) for i in range(0, n_rows, _ROWS_AT_ONCE))


def _split(values: np.ndarray) -> float:
    """Otsu's threshold (doi:10.1109/TSMC.1979.4310076) between early and late arrival; splits nothing if all agree."""
    levels = np.unique(values)
    if len(levels) < 2:
        return float(levels[0])
    between = [
        (values < level).mean()
        * (values >= level).mean()
        * (values[values < level].mean() - values[values >= level].mean()) ** 2
        for level in levels[1:]
    ]
    return float(levels[1:][int(np.argmax(between))])


def _largest_region(late: Map, spacing: np.ndarray, study_centre: np.ndarray) -> np.ndarray:
    """Centroid of the largest compact late region, nearer ones preferred, or the study's centre if there is none."""
    opened = ndimage.binary_opening(late > 0, iterations=max(1, round(3.0 / float(spacing.mean()))))
    labelled, n_regions = ndimage.label(opened)
    if n_regions == 0:
        return study_centre
    rows, cols = np.indices(late.shape)
    distance2 = ((rows - study_centre[0]) * spacing[0]) ** 2 + ((cols - study_centre[1]) * spacing[1]) ** 2
    weight = late * np.exp(-distance2 / (2 * PRIOR_SIGMA_MM**2))
    best = int(np.argmax(ndimage.sum_labels(weight, labelled, range(1, n_regions + 1)))) + 1
    return np.array(ndimage.center_of_mass(late, labelled, best))
