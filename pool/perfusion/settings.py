"""What decides the numbers of a flow measurement, beside the frames and the outline."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field

from pool.errors import SettingsError
from pool.perfusion.sequence import (
    AGENTS,
    BLOOD,
    MYOCARDIUM,
    Agent,
    Relaxation,
    SequenceValues,
    require,
    table_field_t,
    with_t1,
)


def _interval(subject: str, bounds: tuple[float, float], low: float, high: float, unit: str = "") -> None:
    for edge in bounds:
        require(subject, edge, low, high, unit)
    if bounds[0] >= bounds[1]:
        raise SettingsError(subject, "its bounds must rise", f"{bounds[0]:g} to {bounds[1]:g}")


@dataclass(frozen=True)
class FermiSettings:
    """Bounds and prior knowledge of a Fermi-constrained fit.

    Shoulder and delay of one heart's curves are alike; each is drawn to the median of the segments with a standard
    deviation, as a penalty that a curve with little noise overrules.

    Raises:
        SettingsError: bounds that are empty or impossible, or a spread that is not positive.
    """

    mbf_ml_min_g: tuple[float, float] = (0.0, 8.0)
    """Blood flow [mL/min/g]."""
    rate_per_s: tuple[float, float] = (0.01, 2.0)
    """Rate of the residue's tail [1/s]."""
    shoulder: tuple[float, float] = (0.0, 4.0)
    """Length of the residue's shoulder over 1 / rate."""
    delay_s: tuple[float, float] = (-1.0, 4.0)
    """Arrival after the input function [s]; a little below 0 as clocks and slices jitter."""
    spill: tuple[float, float] = (-0.15, 0.15)
    """Share of the cavities' enhancement that partial volume and k-space truncation add to the muscle's signal."""
    shoulder_sd: float = 0.3
    """Spread of the shoulder within a heart."""
    delay_sd_s: float = 0.15
    """Spread of the delay within a heart [s]; a freer delay trades against the flow, which noise then raises."""
    spill_sd: float = 0.04
    """Spread of the spill about 0."""
    n_steps: int = 12
    """Damped Gauss-Newton steps after the dictionary."""

    def __post_init__(self) -> None:
        _interval("bounds of the flow", self.mbf_ml_min_g, 0, 20, "mL/min/g")
        _interval("bounds of the rate", self.rate_per_s, 1e-3, 10, "1/s")
        _interval("bounds of the shoulder", self.shoulder, -5, 20)
        _interval("bounds of the delay", self.delay_s, -10, 30, "s")
        _interval("bounds of the spill", self.spill, -1, 1)
        for name, value in (
            ("shoulder", self.shoulder_sd),
            ("delay", self.delay_sd_s),
            ("spill", self.spill_sd),
        ):
            if not value > 0 or math.isnan(value):
                raise SettingsError(f"spread of the {name}", "must be positive", f"{value:g}")
        require("steps of the fit", self.n_steps, 1, 200)


@dataclass(frozen=True)
class FlowSettings:
    """How blood flow is measured.

    Raises:
        SettingsError: an unknown agent, or a value out of range.
    """

    agent: str = "gadobutrol"
    """Contrast agent, one of `pool.perfusion.sequence.AGENTS`."""
    t1_blood_s: float | None = None
    """Measured native T1 of blood [s]; None takes the field's tabulated one."""
    t1_myocardium_s: float | None = None
    """Measured native T1 of myocardium [s]; None takes the field's tabulated one."""
    unsaturated: float = 0.03
    """Share of the magnetisation taken to survive the saturation pulse, where neither a second bolus nor
    proton-density frames tell: 1 to 5 % for composite pulses at 3 T (Kim et al., Magn Reson Med 2009;62:300)."""
    dose_ratio: float = 10.0
    """Dose of the main bolus over that of a prebolus."""
    aif_clock_offset_s: float | None = None
    """From the clock of an AIF series to that of the main series [s]; None finds it from the arrivals."""
    after_peak_s: float = 25.0
    """Frames later than this after the input function's peak are left out of the fit: leakage and recirculation [s]."""
    grid_step_s: float = 0.25
    """Step of the convolution at most; a quarter of the frame interval where that is shorter [s]."""
    allow_clipped: bool = False
    """Measure flow although samples of the input function are clipped; it is then too high."""
    runner_up_margin: float = 0.1
    """Members whose U_pp is at most this share above the chosen one's are runners-up."""
    septum_deg: float | None = None
    """Direction of the septum's middle, clockwise from the image's right, in all slices [degrees]; None finds it."""
    fermi: FermiSettings = field(default_factory=FermiSettings)
    """Bounds and spreads of the fit."""

    def __post_init__(self) -> None:
        known = sorted({name for agents in AGENTS.values() for name in agents})
        if self.agent not in known:
            raise SettingsError("contrast agent", f"must be one of {', '.join(known)}", repr(self.agent))
        for name, value in (("blood", self.t1_blood_s), ("myocardium", self.t1_myocardium_s)):
            if value is not None:
                require(f"native T1 of {name}", value, 0.2, 4, "s", "It is given in seconds.")
        require("share that survives the saturation pulse", self.unsaturated, 0, 0.5)
        require("dose ratio", self.dose_ratio, 1, 100)
        require("time after the peak", self.after_peak_s, 5, 300, "s")
        require("step of the convolution", self.grid_step_s, 0.01, 1, "s")
        require("margin of runners-up", self.runner_up_margin, 0, 10)
        for subject, angle in (("septum angle", self.septum_deg), ("clock offset", self.aif_clock_offset_s)):
            if angle is not None:
                require(subject, angle, -1e5, 1e5)

    def sha256(self, sequence: SequenceValues) -> str:
        """Hash of these settings with the sequence's values."""
        text = json.dumps([asdict(self), asdict(sequence)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def blood(self, field_t: float) -> Relaxation:
        """Relaxation of blood at a field strength [T]."""
        return with_t1(BLOOD[table_field_t(field_t)], self.t1_blood_s)

    def myocardium(self, field_t: float) -> Relaxation:
        """Relaxation of myocardium at a field strength [T]."""
        return with_t1(MYOCARDIUM[table_field_t(field_t)], self.t1_myocardium_s)

    def relaxivities(self, field_t: float) -> Agent:
        """The agent at a field strength [T]."""
        return AGENTS[table_field_t(field_t)][self.agent]
