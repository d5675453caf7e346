"""A simulated study with its truth, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pool.errors import SettingsError
from pool.series import PerfusionSeries


@dataclass(frozen=True)
class ScanValues:
    """What the scanner would write about itself."""

    scanner: str
    """Manufacturer and model."""
    field_t: float
    """Field strength [T]."""
    readout: str
    """`flash` or `bssfp`."""
    ti_ms: float
    """Saturation time [ms]."""
    flip_deg: float
    """Flip angle [degrees]."""
    tr_ms: float
    """Repetition time [ms]."""
    te_ms: float
    """Echo time [ms]."""
    thickness_mm: float
    """Slice thickness [mm]."""
    acceleration: float
    """Parallel-imaging factor."""
    heart_rate_bpm: float
    """Mean heart rate [1/min]."""
    n_pulses_before: int
    """Readout pulses before the centre of k-space."""
    r1_per_mm_s: float
    """Longitudinal relaxivity of the contrast agent [L / (mmol s)]."""


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A simulated study and everything that is true about it."""

    series: PerfusionSeries
    """Frames, times and geometry, base to apex, on the scanner's grid; whole numbers within 12 bits."""
    labels: np.ndarray
    """Expert labels on the native grid, uint8 `slice row col`."""
    anatomical_labels: np.ndarray
    """Labels by tissue, uint8 `slice row col`."""
    mbf_ml_min_g: np.ndarray
    """True flow, 0 outside the anatomical myocardium, float32 `slice row col` [mL/min/g]."""
    insertion_px: np.ndarray
    """Anterior and inferior RV insertion point on the native grid, NaN without RV: `slice 2 2`, (row, col) [px]."""
    curve_times_s: np.ndarray
    """Fine time grid of the true concentrations, on the clock of `series.times_s`: `time` [s]."""
    blood_mm: np.ndarray
    """True whole-blood concentration in the LV, `slice time` [mmol/L]."""
    stress: bool
    """Whether it is a stress study."""
    preset_name: str
    """Preset it was drawn from."""
    seed: int
    """Seed it was drawn with."""
    scan: ScanValues
    """Sequence values."""
    injection: str = "main"
    """`main` or `prebolus`."""
    prebolus: PhantomStudy | None = None
    """The same heart with a tenth of the dose, on a clock of its own; only of a dual-bolus study."""

    def __post_init__(self) -> None:
        wanted = (self.series.n_slices, *self.series.frames.shape[2:])
        for name in ("labels", "anatomical_labels", "mbf_ml_min_g"):
            if getattr(self, name).shape != wanted:
                raise SettingsError("phantom study", f"{name} must have shape {wanted}", str(getattr(self, name).shape))
