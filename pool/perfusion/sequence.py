"""What the scanner did and what tissue and contrast agent are like: all that a signal has to be read with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pool.errors import SettingsError

READOUTS = ("flash", "bssfp")
"""Saturation-recovery readouts whose signal can be turned into a concentration."""


def require(subject: str, value: float, low: float, high: float, unit: str = "", remedy: str = "") -> None:
    """Refuse a value that is not a number within [low, high].

    Raises:
        SettingsError: names subject, limits and value.
    """
    if not (math.isfinite(value) and low <= value <= high):
        suffix = f" {unit}" if unit else ""
        raise SettingsError(subject, f"must lie within {low:g} and {high:g}{suffix}", f"{value:g}{suffix}", remedy)


@dataclass(frozen=True)
class SequenceValues:
    """A saturation-recovery perfusion sequence.

    Raises:
        SettingsError: a value that no such sequence has.
    """

    readout: str
    """`flash` or `bssfp`."""
    ti_s: float
    """From the saturation pulse to the centre of k-space [s]."""
    flip_deg: float
    """Flip angle of the readout [degrees]."""
    tr_s: float
    """From pulse to pulse of the readout [s]."""
    te_s: float
    """Echo time [s]."""
    field_t: float
    """Field strength [T]."""
    n_pulses_before: int
    """Readout pulses before the centre of k-space."""
    pulses_estimated: bool = False
    """Whether that number was estimated, as no header holds it."""

    def __post_init__(self) -> None:
        if self.readout not in READOUTS:
            raise SettingsError("perfusion sequence", f"readout must be {' or '.join(READOUTS)}", repr(self.readout))
        require("saturation time", self.ti_s, 0.01, 1.0, "s", "It is the delay to the centre of k-space, in seconds.")
        require("flip angle", self.flip_deg, 1, 90, "degrees")
        require(
            "repetition time",
            self.tr_s,
            5e-4,
            0.02,
            "s",
            "It is the time from pulse to pulse, not that of a whole image; give it with --sequence.",
        )
        require("echo time", self.te_s, 1e-4, self.tr_s, "s")
        require("field strength", self.field_t, 0.1, 7.5, "T")
        require("pulses before the centre of k-space", self.n_pulses_before, 0, 500)
        if self.n_pulses_before * self.tr_s > self.ti_s:
            raise SettingsError(
                "perfusion sequence",
                "the pulses before the centre of k-space must fit into the saturation time",
                f"{self.n_pulses_before} x {1e3 * self.tr_s:g} ms in {1e3 * self.ti_s:g} ms",
                "Give their number with --sequence.",
            )


@dataclass(frozen=True)
class Relaxation:
    """Relaxation of a tissue without contrast agent.

    Raises:
        SettingsError: a time that is not positive.
    """

    t1_s: float
    """Native longitudinal relaxation time [s]."""
    t2_s: float
    """Transverse relaxation time [s]."""
    t2_star_s: float
    """Effective transverse relaxation time [s]."""

    def __post_init__(self) -> None:
        for name, value in (("native T1", self.t1_s), ("T2", self.t2_s), ("T2*", self.t2_star_s)):
            require(name, value, 1e-3, 10, "s")


@dataclass(frozen=True)
class Agent:
    """A contrast agent.

    Raises:
        SettingsError: a relaxivity out of range.
    """

    r1: float
    """Longitudinal relaxivity [L / (mmol s)]."""
    r2: float
    """Transverse relaxivity [L / (mmol s)]."""
    r2_star: float
    """Effective transverse relaxivity at the concentrations of a bolus [L / (mmol s)]."""

    def __post_init__(self) -> None:
        for name, value in (("relaxivity r1", self.r1), ("relaxivity r2", self.r2), ("relaxivity r2*", self.r2_star)):
            require(name, value, 0.5, 60, "L/(mmol s)")


BLOOD = {1.5: Relaxation(1.48, 0.29, 0.12), 3.0: Relaxation(1.65, 0.275, 0.05)}
"""Blood by field strength [T]: T1 after Zhang et al., Magn Reson Med 2013;70:1082, T2 after Stanisz et al., ibid.
2005;54:507."""
MYOCARDIUM = {1.5: Relaxation(0.98, 0.04, 0.032), 3.0: Relaxation(1.2, 0.047, 0.025)}
"""Myocardium by field strength [T]: T1 after Kawel-Boehm et al., J Cardiovasc Magn Reson 2020;22:87."""
AGENTS = {
    1.5: {
        "gadobutrol": Agent(5.2, 6.1, 12.2),
        "gadoterate": Agent(3.6, 4.3, 8.6),
        "gadopentetate": Agent(4.1, 4.6, 9.2),
        "gadobenate": Agent(6.3, 8.7, 17.4),
    },
    3.0: {
        "gadobutrol": Agent(5.0, 7.1, 14.2),
        "gadoterate": Agent(3.5, 4.9, 9.8),
        "gadopentetate": Agent(3.7, 5.2, 10.4),
        "gadobenate": Agent(5.5, 11.0, 22.0),
    },
}
"""Agents by field strength [T]: r1 and r2 in plasma after Rohrer et al., Invest Radiol 2005;40:715; r2* taken as twice
r2."""
NEAREST_FIELD_T = 0.4
"""How far a scanner's field may lie from 1.5 or 3 T to take that field's values [T]."""


def table_field_t(field_t: float) -> float:
    """The tabulated field strength [T] that a scanner's stands for.

    Raises:
        SettingsError: none is near.
    """
    nearest = min(BLOOD, key=lambda known: abs(known - field_t))
    if abs(nearest - field_t) > NEAREST_FIELD_T:
        raise SettingsError(
            "relaxation times",
            "are tabulated for 1.5 and 3 T",
            f"{field_t:g} T",
            "Give the native T1 of blood and myocardium.",
        )
    return nearest


def with_t1(relaxation: Relaxation, t1_s: float | None) -> Relaxation:
    """The same tissue with a measured native T1 [s], where there is one."""
    return relaxation if t1_s is None else replace(relaxation, t1_s=t1_s)
