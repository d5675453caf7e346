"""The signal of LV blood over time, relative to its baseline, and where it is taken from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.errors import InconsistentStudyError, StudyError
from pool.perfusion.baseline import arrival_s, blood_baseline_frames, channel_noise, smoothed_away, without_noise_floor
from pool.perfusion.regions import inner_pool, without_papillary
from pool.series import PerfusionSeries
from pool.shapes import Mask

SUBJECT = "arterial input function"
LEAST_SCATTER = 0.005
"""Of a baseline, relative: few frames can agree by chance."""
FALLEN_SHARE = 0.7
"""A first pass is whole once the curve has fallen to this share of its peak."""


@dataclass(frozen=True, eq=False)
class BloodCurve:
    """Mean signal of LV blood.

    Raises:
        InconsistentStudyError: times that do not rise.
    """

    times_s: np.ndarray
    """Of the frames, `time` [s]."""
    relative: np.ndarray
    """Signal over its baseline, the noise floor removed, `time`."""
    signal: np.ndarray
    """The same in the scanner's units."""
    arrival_s: float
    """When the bolus arrives [s]."""
    pixels: Mask
    """Which pixels it is the mean of."""

    def __post_init__(self) -> None:
        if not (np.diff(self.times_s) > 0).all():
            raise InconsistentStudyError(SUBJECT, "frame times must rise", remedy="Check the time tags.")

    @property
    def before(self) -> np.ndarray:
        """Frames before the bolus, bool `time`."""
        return blood_baseline_frames(self.times_s, self.arrival_s)

    @property
    def n_before(self) -> int:
        """Number of frames before the bolus."""
        return int(self.before.sum())

    @property
    def scatter(self) -> float:
        """Standard deviation of a frame before the bolus, relative to the baseline."""
        before = self.relative[self.before]
        return max(float(np.std(before, ddof=1)) if len(before) > 2 else 0.0, LEAST_SCATTER)

    @property
    def n_px(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())


def blood_curve(
    frames: np.ndarray, times_s: np.ndarray, cavity: Mask, spacing_mm: tuple[float, float], chosen: Mask | None = None
) -> BloodCurve:
    """Mean signal of the cavity's inner part without papillary muscles.

    Args:
        frames: `time row col`.
        times_s: `time` [s].
        cavity: LV blood pool.
        spacing_mm: between rows, between columns.
        chosen: pixels to take as they are, instead of choosing them.

    Raises:
        StudyError: no cavity, no bolus, or one that arrived before the series began.
    """
    pool = chosen
    if pool is None:
        pool = inner_pool(cavity, spacing_mm)
        arrival = arrival_s(times_s, frames[:, pool].mean(axis=1), SUBJECT)
        pool = without_papillary(frames, pool, times_s, arrival)
    pixels = frames[:, pool].astype(np.float64)
    arrival = arrival_s(times_s, pixels.mean(axis=1), SUBJECT)
    before = blood_baseline_frames(times_s, arrival)
    noise = channel_noise(pixels[before]) * smoothed_away(frames[before], pool) ** 0.5
    signal = without_noise_floor(pixels.mean(axis=1), noise)
    baseline = float(signal[before].mean())
    if baseline <= 0:
        raise StudyError(
            SUBJECT,
            "needs a signal before the bolus that stands out of the noise",
            "none",
            "Give a series for the input function.",
        )
    return BloodCurve(times_s, signal / baseline, signal, arrival, pool)


def require_first_pass(times_s: np.ndarray, concentration_mm: np.ndarray) -> None:
    """Refuse a series that ends before the first pass does.

    Raises:
        StudyError: the curve never falls after its peak.
    """
    peak = int(concentration_mm.argmax())
    after = concentration_mm[peak:]
    if after.min() > FALLEN_SHARE * concentration_mm[peak]:
        raise StudyError(
            SUBJECT,
            f"must show the first pass until blood has fallen to {FALLEN_SHARE:.0%} of its peak",
            f"the last of {len(times_s)} frames {times_s[-1] - times_s[peak]:.1f} s after the peak, still at "
            f"{after.min() / concentration_mm[peak]:.0%}",
            "Record for longer; flow cannot be measured from this series.",
        )


def mask_on(mask: Mask, source: PerfusionSeries, target: PerfusionSeries, slice_index: int) -> tuple[Mask, int, str]:
    """A mask of one series on the grid of another, and the slice of that series that lies nearest.

    By position in the patient where both know theirs, else by the same pixels or the same field of view.

    Args:
        mask: on the grid of `source`.
        source, target: series of one examination.
        slice_index: of `source`.

    Returns:
        Mask `row col`, index of the slice of `target`, and a remark where positions were not known.

    Raises:
        StudyError: the other series lies elsewhere.
    """
    shape = (target.frames.shape[2], target.frames.shape[3])
    spacing, other = source.pixel_spacing_mm, target.pixel_spacing_mm
    assert spacing is not None  # a series of raw frames has one
    assert other is not None
    if source.geometry is None or target.geometry is None:
        same = mask.shape == shape and np.allclose(spacing, other)
        scale = [n / m for n, m in zip(mask.shape, shape)]
        rows, cols = ((np.arange(n) + 0.5) * s - 0.5 for n, s in zip(shape, scale))
        grid = np.meshgrid(rows, cols, indexing="ij")
        laid = mask if same else ndimage.map_coordinates(mask.astype(np.float32), grid, order=1) >= 0.5
        remark = "" if same else "the input function's series is taken to have the same field of view as the slices"
        return np.asarray(laid), min(slice_index, target.n_slices - 1), remark
    here = source.geometry[slice_index]
    middle = here.to_patient_mm(mask.shape[0] / 2, mask.shape[1] / 2, spacing)
    away = [abs(float((middle - np.array(g.position_mm)) @ here.normal)) for g in target.geometry]
    there = int(np.argmin(away))
    to = target.geometry[there]
    corner = to.to_patient_mm(0, 0, other)
    offset = corner - np.array(here.position_mm)
    row_axis, col_axis = np.array(here.orientation[3:]), np.array(here.orientation[:3])
    down, right = np.array(to.orientation[3:]) * other[0], np.array(to.orientation[:3]) * other[1]
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    rows = (offset @ row_axis + i * (down @ row_axis) + j * (right @ row_axis)) / spacing[0]
    cols = (offset @ col_axis + i * (down @ col_axis) + j * (right @ col_axis)) / spacing[1]
    laid = ndimage.map_coordinates(mask.astype(np.float32), [rows, cols], order=1) >= 0.5
    if not laid.any():
        raise StudyError(
            SUBJECT,
            "the series for it must show the LV cavity of the basal slice",
            f"its nearest slice lies {min(away):.0f} mm away",
            "Does it belong to the same examination?",
        )
    return laid, there, ""
