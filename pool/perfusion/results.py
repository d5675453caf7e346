"""Blood flow of a study as frozen values: what files, reports and figures are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pool.shapes import Map

AIF_SERIES, PREBOLUS, LV_BLOOD = "aif-series", "dual-bolus", "lv-blood"
"""Where an input function can come from."""
ASSUMED, PROTON_DENSITY = "assumed", "proton-density"
"""Where the share that survives saturation comes from, beside `PREBOLUS`."""


@dataclass(frozen=True)
class AifRecord:
    """The arterial input function that was used."""

    source: str
    """`lv-blood` (LV cavity of the basal slice), `aif-series` (a low-resolution series of its own) or `dual-bolus` (a
    prebolus scaled by the ratio of doses)."""
    slice_name: str
    """Slice it was taken from."""
    n_px: int
    """Pixels it is the mean of."""
    peak_mm: float
    """Highest concentration, of the main bolus [mmol/L]."""
    saturation: float
    """Of the series it was measured in: share of the fully recovered signal that the peak reached, 0 to 1. Near 1 the
    signal hardly depends on the concentration any more."""
    main_saturation: float
    """The same of the main bolus in the LV: what a single bolus would have had to be read from."""
    clipped: bool
    """Whether samples beyond what the signal can tell were held at that limit: flow is then too high."""
    arrival_s: float
    """Arrival in the LV on the clock of the main series [s]."""
    dose_ratio: float | None = None
    """Dose of the main bolus over that of the prebolus; None for a single bolus."""
    unsaturated: float = 0.0
    """Share of the magnetisation that survives the saturation pulse."""
    unsaturated_from: str = ASSUMED
    """`assumed`, `proton-density` frames or `dual-bolus`."""

    @property
    def doubtful(self) -> bool:
        """Whether flow from it tells segments apart but is no measurement: a single bolus, its saturation assumed."""
        return self.source == LV_BLOOD and self.unsaturated_from == ASSUMED


@dataclass(frozen=True)
class SegmentFlow:
    """Blood flow of one AHA segment."""

    number: int
    """1 to 16 (Cerqueira et al., Circulation 2002;105:539)."""
    name: str
    """In words: `basal anterior`, ..., `apical lateral`."""
    slice_name: str
    """Slice it lies in."""
    n_px: int
    """Native pixels that its curve is the mean of."""
    mbf_ml_min_g: float | None
    """Blood flow by Fermi-constrained deconvolution [mL/min/g]; None where the fit failed."""
    standard_error: float | None = None
    """Standard error of the fit [mL/min/g]: noise alone, not what outline and input function add."""
    r_squared: float | None = None
    """Share of the curve's variance that the fit explains."""
    delay_s: float | None = None
    """Arrival after the LV [s]."""
    mbf_model_free: float | None = None
    """The same flow by Tikhonov deconvolution without a model [mL/min/g], a cross-check."""
    failure: str = ""
    """Why there is no flow, in words; empty where there is one."""
    mbf_runners_up: tuple[float, ...] = ()
    """The same segment's flow under the outlines of the members that came close to the chosen one [mL/min/g]."""

    @property
    def mbf_range(self) -> tuple[float, float] | None:
        """Least and greatest flow over the chosen outline and the runners-up [mL/min/g]; None without a flow."""
        if self.mbf_ml_min_g is None:
            return None
        values = (self.mbf_ml_min_g, *self.mbf_runners_up)
        return min(values), max(values)


@dataclass(frozen=True, eq=False)
class SliceFlow:
    """Blood flow of one slice on the native grid."""

    name: str
    """As in the series."""
    level: str
    """`base`, `mid` or `apex`: which segments it holds."""
    mbf: Map
    """Blood flow of every myocardial pixel [mL/min/g]; NaN outside the outline and where the fit failed."""
    standard_error: Map
    """Of each pixel's fit [mL/min/g]; NaN likewise."""
    failed: np.ndarray
    """Myocardial pixels without a flow, bool `row col`."""
    segment: np.ndarray
    """AHA segment of every myocardial pixel, uint8 `row col`, 0 elsewhere."""
    averaged: np.ndarray
    """Myocardial pixels that segments' curves are means of, without the wall's outer rim, bool `row col`."""
    septum_deg: float
    """Direction of the septum's middle from the LV's centre, clockwise in the image from its column axis [deg]."""
    insertion_px: tuple[tuple[float, float], tuple[float, float]] | None
    """Anterior and inferior RV insertion point as native (row, col); None where they were not found in this slice."""
    orientation_from: str
    """How the segments were turned: `rv`, `rv-doubtful` (points found, but not as a septum lies), `slice NAME` (taken
    from another slice) or `given`."""


@dataclass(frozen=True, eq=False)
class StudyFlow:
    """Blood flow of a study."""

    aif: AifRecord
    slices: tuple[SliceFlow, ...]
    """In the order of the series; slices without an outline are absent."""
    segments: tuple[SegmentFlow, ...]
    """In the order of their numbers; segments of absent slices are absent."""
    state: str | None = None
    """`stress`, `rest`, or None where nobody said it."""
    settings_sha256: str = ""
    """Hash of the flow settings and sequence values."""
    remarks: tuple[str, ...] = ()
    """What was assumed and the user should know."""
    failure_counts: dict[str, int] = field(default_factory=dict)
    """Failed pixels by reason."""

    def mbf_maps(self, slice_names: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray:
        """Maps of all named slices, float32 `slice row col` [mL/min/g], NaN where there is no flow."""
        by_name = {item.name: item.mbf for item in self.slices}
        nothing = np.full(shape, np.nan, dtype=np.float32)
        return np.stack([by_name.get(name, nothing) for name in slice_names])

    def segment_maps(self, slice_names: tuple[str, ...], shape: tuple[int, int]) -> np.ndarray:
        """AHA segment numbers of all named slices, uint8 `slice row col`, 0 outside the myocardium."""
        by_name = {item.name: item.segment for item in self.slices}
        nothing = np.zeros(shape, dtype=np.uint8)
        return np.stack([by_name.get(name, nothing) for name in slice_names])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, without maps."""
        return {
            "unit": "mL/min/g",
            "state": self.state,
            "aif": asdict(self.aif),
            "settings_sha256": self.settings_sha256,
            "remarks": list(self.remarks),
            "failed_pixels": dict(sorted(self.failure_counts.items())),
            "slices": [
                {
                    "name": item.name,
                    "level": item.level,
                    "septum_deg": item.septum_deg,
                    "insertion_px": item.insertion_px,
                    "orientation_from": item.orientation_from,
                    "n_failed_px": int(item.failed.sum()),
                }
                for item in self.slices
            ],
            "segments": [{**asdict(item), "mbf_range": item.mbf_range} for item in self.segments],
        }


@dataclass(frozen=True)
class NoFlow:
    """Why a study has no blood flow, as a value: an outline is worth having without it."""

    reason: str
    """One sentence: what is missing or wrong, and the remedy."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {"reason": self.reason}
