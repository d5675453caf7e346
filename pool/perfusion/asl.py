"""Blood flow from arterial spin labelling by Buxton's general kinetic model, pair by pair.

In FAIR the label is inverted blood that flows in from arrival D on for the width w. Control minus label is

    dM(t) = 2 a M0 f integral_D^min(t, D + w) exp(-s / T1b) exp(-(t - s) / T1') ds,   1 / T1' = 1 / T1 + F / lambda

(Buxton et al., Magn Reson Med 1998;40:383), f = rho F. It is linear in F but for the small T1'; a few fixed-point steps
solve it. Images are relative to a baseline without inversion, so coils and density of the muscle cancel: M0 of blood is
that of muscle over its relative density. Physiological noise is the standard deviation over the pairs' flows, as in
Yalcinkaya et al. 2023 after Zun et al., Magn Reson Med 2009;62:975.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pool.errors import InconsistentStudyError, NonFiniteError, StudyError
from pool.perfusion.fermi import DENSITY_G_PER_ML
from pool.perfusion.sequence import BLOOD, MYOCARDIUM, require, table_field_t
from pool.shapes import Mask

N_STEPS = 30
"""Fixed-point steps; each shrinks the error about a hundredfold."""

LEVEL = "mid"
"""An ASL study is one mid short-axis slice."""


@dataclass(frozen=True)
class AslValues:
    """What an ASL study has to be read with.

    Raises:
        SettingsError: a value out of range.
    """

    field_t: float = 3.0
    """Field strength [T]."""
    arrival_s: float = 0.07
    """Arrival of labelled blood after the inversion [s]."""
    width_s: float = 5.0
    """Duration of the label; in FAIR without saturation longer than TI [s]."""
    efficiency: float = 0.95
    """Inversion efficiency."""
    partition_ml_per_g: float = 0.95
    """Partition coefficient of water between myocardium and blood [mL/g]."""
    relative_density: float = 0.85
    """Water of myocardium over that of blood, per volume."""
    t1_blood_s: float | None = None
    """Measured T1 of blood [s]; None takes the field's tabulated one."""
    t1_myocardium_s: float | None = None
    """Measured T1 of myocardium [s]; None takes the field's tabulated one."""

    def __post_init__(self) -> None:
        table_field_t(self.field_t)
        require("arrival of the label", self.arrival_s, 0, 3, "s")
        require("width of the label", self.width_s, 0.05, 20, "s")
        require("inversion efficiency", self.efficiency, 0.3, 1)
        require("partition coefficient", self.partition_ml_per_g, 0.3, 2, "mL/g")
        require("relative density", self.relative_density, 0.3, 1.5)
        for name, value in (("blood", self.t1_blood_s), ("myocardium", self.t1_myocardium_s)):
            if value is not None:
                require(f"T1 of {name}", value, 0.2, 4, "s")

    @property
    def t1_s(self) -> tuple[float, float]:
        """T1 of blood and of myocardium [s]."""
        field_t = table_field_t(self.field_t)
        return self.t1_blood_s or BLOOD[field_t].t1_s, self.t1_myocardium_s or MYOCARDIUM[field_t].t1_s


@dataclass(frozen=True, eq=False)
class AslFlow:
    """Flow of regions of an ASL study."""

    pair_mbf: np.ndarray
    """Of every pair, `region pair` [mL/min/g]."""

    @property
    def mbf_ml_min_g(self) -> np.ndarray:
        """Mean over the pairs, `region` [mL/min/g]."""
        return self.pair_mbf.mean(axis=1)

    @property
    def physiological_noise(self) -> np.ndarray:
        """Standard deviation over the pairs, divided by n - 1, `region` [mL/min/g]; NaN for a single pair."""
        if self.pair_mbf.shape[1] < 2:
            return np.full(len(self.pair_mbf), np.nan)
        return self.pair_mbf.std(axis=1, ddof=1)


def relative_difference(mbf_ml_min_g: np.ndarray, ti_s: np.ndarray, values: AslValues) -> np.ndarray:
    """Control minus labelled magnetisation over M0 of blood.

    Args:
        mbf_ml_min_g, ti_s: flow [mL/min/g] and inversion to image [s], broadcast.
        values: label and relaxation.
    """
    t1_blood, t1_muscle = values.t1_s
    apparent = 1 / t1_muscle + mbf_ml_min_g / 60 / values.partition_ml_per_g
    flow_per_s = DENSITY_G_PER_ML * mbf_ml_min_g / 60
    last = np.minimum(ti_s, values.arrival_s + values.width_s)
    duration = np.maximum(last - values.arrival_s, 0.0)
    k = apparent - 1 / t1_blood
    # exp(-t/T1') integral of exp(k s) from D to the end: expm1 stays exact where k is small
    small = np.abs(k * duration) < 1e-9
    area = np.where(small, duration, np.expm1(k * duration) / np.where(small, 1.0, k))
    return 2 * values.efficiency * flow_per_s * np.exp(-ti_s * apparent) * np.exp(k * values.arrival_s) * area


def measure_asl(
    control: np.ndarray,
    labelled: np.ndarray,
    baseline: np.ndarray,
    ti_s: np.ndarray,
    regions: list[Mask],
    values: AslValues | None = None,
) -> AslFlow:
    """Flow of regions, pair by pair, from the means of their signals.

    Where control and label of a pair have unequal TI (the heart rate varies), the label's recovery is moved to the
    control's TI first: `S = S0 (1 - 2 a exp(-TI / T1))`.

    Args:
        control, labelled: signed images, `pair row col`.
        baseline: image without inversion, `row col`.
        ti_s: of control and label, `pair 2` [s].
        regions: masks `row col`, for example segments.
        values: see `AslValues`.

    Raises:
        InconsistentStudyError: shapes that do not belong together, or inversion times that are not positive.
        NonFiniteError: pixels that are not finite.
        StudyError: no region, an empty one, or one without baseline signal.
    """
    values = values or AslValues()
    _check(control, labelled, baseline, ti_s, regions)
    t1 = values.t1_s[1]
    flows = np.empty((len(regions), len(control)))
    for row, mask in enumerate(regions):
        full = float(baseline[mask].mean(dtype=np.float64))  # float32 would overflow on large values
        if not full > 0:
            raise StudyError(
                f"ASL region {row + 1}", "needs a positive baseline signal", f"{full:g}", "Is it inside the heart?"
            )
        recovery = 1 - 2 * values.efficiency * np.exp(-ti_s / t1)
        moved = labelled[:, mask].mean(axis=1, dtype=np.float64) / full + recovery[:, 0] - recovery[:, 1]
        difference = (control[:, mask].mean(axis=1, dtype=np.float64) / full - moved) * values.relative_density
        flows[row] = _invert(difference, ti_s[:, 0], values)
    return AslFlow(flows)


def _invert(difference: np.ndarray, ti_s: np.ndarray, values: AslValues) -> np.ndarray:
    """Flow of which Buxton's model makes these differences; noise may make it negative, which is kept."""
    flow = np.zeros_like(difference)
    for _ in range(N_STEPS):
        unit = relative_difference(np.maximum(flow, 1e-6), ti_s, values) / np.maximum(flow, 1e-6)
        flow = difference / unit
    return flow


def _check(
    control: np.ndarray, labelled: np.ndarray, baseline: np.ndarray, ti_s: np.ndarray, regions: list[Mask]
) -> None:
    if control.ndim != 3 or control.shape != labelled.shape or baseline.shape != control.shape[1:]:
        raise InconsistentStudyError(
            "ASL study",
            "needs as many labelled as control images, and a baseline, of one size",
            f"{control.shape}, {labelled.shape}, {baseline.shape}",
        )
    if ti_s.shape != (len(control), 2) or not (np.isfinite(ti_s).all() and (ti_s > 0).all()):
        raise InconsistentStudyError(
            "ASL study", "needs a positive inversion time for both images of every pair", str(ti_s.shape)
        )
    if not all(np.isfinite(image).all() for image in (control, labelled, baseline)):
        raise NonFiniteError("ASL study", "every pixel must be a finite number", "NaN or infinite", "Export it again.")
    if not regions or any(mask.shape != baseline.shape or not mask.any() for mask in regions):
        raise StudyError("ASL study", "needs at least one region, none of them empty", str(len(regions)))
