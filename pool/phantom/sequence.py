"""A saturation-recovery perfusion sequence and its coils, as ranges of parameters."""

from __future__ import annotations

from dataclasses import dataclass

from pool.errors import SettingsError
from pool.phantom.ranges import Range
from pool.phantom.relaxation import AGENTS

READOUTS = ("flash", "bssfp")
"""Saturation-recovery readouts that are simulated."""


@dataclass(frozen=True)
class Sequence:
    """A saturation-recovery perfusion sequence.

    Raises:
        SettingsError: a value outside what scanners do.
    """

    readouts: tuple[str, ...]
    """`flash`, `bssfp`, or both, of which each heart gets one."""
    field_t: float
    """Field strength [T]."""
    agents: tuple[str, ...]
    """Contrast agents, of which each heart gets one."""
    ti_ms: Range
    """Saturation pulse to centre of k-space [ms]."""
    flip_deg: Range
    """Flip angle [degrees]."""
    tr_ms: Range
    """Repetition time [ms]."""
    te_ms: Range
    """Echo time [ms]."""
    matrix_readout: Range
    """Acquired samples along the columns' direction."""
    matrix_phase: Range
    """Phase-encoding lines along the rows' direction, before acceleration."""
    acceleration: Range
    """Parallel-imaging factor."""
    spacing_mm: Range
    """In-plane pixel spacing [mm]."""
    thickness_mm: float
    """Slice thickness [mm]."""
    noise: Range
    """Standard deviation of the noise in each channel where noise grows least, over the LV's peak signal."""
    coil_falloff: Range
    """How strongly surface coils brighten the chest wall: 0 is a flat image, 1 an uncorrected array."""
    signal_gamma: Range = Range(1.0, 1.0)
    """Exponent on the final image; other than 1 only to randomise beyond physics."""
    tissue_spread: float = 0.0
    """Relative spread of every tissue's brightness and enhancement, to randomise beyond physics."""
    imperfect_saturation: Range = Range(0.01, 0.09)
    """Share of the magnetisation that survives the saturation pulse."""

    def __post_init__(self) -> None:
        if not self.readouts or any(r not in READOUTS for r in self.readouts):
            raise SettingsError("readout", f"must be among {', '.join(READOUTS)}", repr(self.readouts))
        if self.field_t not in AGENTS:
            raise SettingsError("field strength", "must be 1.5 or 3.0 T", f"{self.field_t:g} T")
        unknown = [name for name in self.agents if name not in AGENTS[self.field_t]]
        if unknown or not self.agents:
            raise SettingsError("contrast agent", f"must be among {', '.join(AGENTS[self.field_t])}", repr(self.agents))
        self.ti_ms.require("saturation time", 20, 500, "ms")
        self.flip_deg.require("flip angle", 1, 90, "degrees")
        self.tr_ms.require("repetition time", 1, 20, "ms")
        self.te_ms.require("echo time", 0.2, 10, "ms")
        self.matrix_readout.require("readout matrix", 32, 512, "samples")
        self.matrix_phase.require("phase matrix", 32, 512, "lines")
        self.acceleration.require("acceleration", 1, 8)
        self.spacing_mm.require("pixel spacing", 0.5, 5, "mm")
        self.noise.require("noise", 0, 1, remedy="It is a fraction of the LV's peak signal.")
        self.coil_falloff.require("coil fall-off", 0, 2)
        self.signal_gamma.require("signal gamma", 0.2, 5)
        self.imperfect_saturation.require("imperfect saturation", 0, 0.5)
        if not 1 <= self.thickness_mm <= 50:
            raise SettingsError("slice thickness", "must lie within 1 and 50 mm", f"{self.thickness_mm:g} mm")
        if not 0 <= self.tissue_spread <= 1:
            raise SettingsError("tissue spread", "must lie within 0 and 1", f"{self.tissue_spread:g}")
        if self.te_ms.high >= self.tr_ms.low:
            raise SettingsError(
                "echo time",
                "must be shorter than the shortest repetition time",
                f"up to {self.te_ms.high:g} ms with repetition times from {self.tr_ms.low:g} ms",
            )
