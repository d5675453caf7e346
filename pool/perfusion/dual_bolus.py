"""Two boluses of known ratio measure what one alone leaves open: the saturation pulse, the clocks and the true peak.

The prebolus is weak enough not to saturate; the main bolus must have `ratio` times its concentration. So the main
signal is predicted from the prebolus, and four numbers are found that make it so: the share u of the magnetisation that
survives the saturation pulse, the offset between the two clocks, and small errors of the two baselines, which count
against what noise allows. Where the main signal still tells concentrations apart (late, and after the prebolus series
ends) it is the more precise of the two; the input function is their mean, weighted with inverse variances.
Dual bolus: Christian et al., Radiology 2004;232:677; the fit of u is ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.optimize import least_squares

from pool.errors import StudyError
from pool.perfusion.blood_curve import SUBJECT, BloodCurve
from pool.perfusion.sequence import Agent, Relaxation, SequenceValues
from pool.perfusion.signal import SignalTable

GAIN_SD = 0.02
"""What a frame's brightness, motion and flow in the cavity add to the noise, relative."""
MODEL_SD = 0.05
"""What is not known of the signal near saturation, of the concentration."""
MOST_UNSATURATED = 0.3
"""Share that may survive a saturation pulse at most."""
CLOCK_S = 3.0
"""How far the offset of the clocks may lie from that of the arrivals [s]."""
FEWEST_SHARED = 6
"""Frames of the main series within the prebolus series, at least."""
POOR_FIT = 0.12
"""Root mean square misfit of the predicted main bolus, relative to its peak, beyond which the ratio cannot be right."""

Table = Callable[[float], SignalTable]


@dataclass(frozen=True, eq=False)
class MatchedBoluses:
    """What two boluses say together."""

    concentration_mm: np.ndarray
    """Main bolus in the LV, at the main curve's frames [mmol/L]."""
    unsaturated: float
    """Share of the magnetisation that survives the saturation pulse."""
    offset_s: float
    """From the prebolus clock to the main clock [s]."""
    misfit: float
    """Root mean square of predicted minus measured main signal, relative to its peak."""


def match_boluses(
    early: BloodCurve, main: BloodCurve, ratio: float, blood: Relaxation, agent: Agent, sequence: SequenceValues
) -> MatchedBoluses:
    """Input function from a prebolus and a main bolus.

    Args:
        early, main: LV blood of the two injections, same sequence, each on its own clock.
        ratio: dose of the main bolus over that of the prebolus.
        blood, agent, sequence: for the signal model.

    Raises:
        StudyError: series that hardly overlap, or a main bolus that no scaling of the prebolus explains.
    """

    def table(unsaturated: float) -> SignalTable:
        return SignalTable.of(blood, agent, sequence, unsaturated)

    x = _start(early, main, ratio, table)
    allowed = (early.scatter / np.sqrt(early.n_before), main.scatter / np.sqrt(main.n_before))

    def residual(x: np.ndarray) -> np.ndarray:
        shared, predicted, sd = _predict(x, early, main, ratio, table(x[0]))
        misfit = np.where(shared, (predicted - main.relative / (1 + x[3])) / sd, 0.0)
        return np.concatenate([misfit, [x[2] / allowed[0], x[3] / allowed[1]]])

    low = [0.0, x[1] - CLOCK_S, -0.2, -0.2]
    high = [MOST_UNSATURATED, x[1] + CLOCK_S, 0.2, 0.2]
    found = least_squares(
        residual,
        x,
        bounds=(low, high),
        diff_step=[1e-4] * 4,
        x_scale=[0.02, 0.2, 0.02, 0.02],
        loss="soft_l1",
        f_scale=2.0,
    ).x
    shared, predicted, _ = _predict(found, early, main, ratio, table(found[0]))
    if int(shared.sum()) < FEWEST_SHARED:
        raise StudyError(
            SUBJECT, "prebolus and main bolus must overlap once their arrivals agree", f"{int(shared.sum())} frames"
        )
    misfit = float(np.sqrt(((predicted - main.relative)[shared] ** 2).mean()) / main.relative.max())
    if misfit > POOR_FIT:
        raise StudyError(
            SUBJECT,
            f"the main bolus must be {ratio:g} times the prebolus",
            f"a misfit of {misfit:.0%} of the peak",
            "Is the ratio of doses right, and do both series show the same slice?",
        )
    concentration = _combined(found, early, main, ratio, table(found[0]))
    return MatchedBoluses(concentration, float(found[0]), float(found[1]), misfit)


def _start(early: BloodCurve, main: BloodCurve, ratio: float, table: Table) -> np.ndarray:
    """The best of a grid of shares and offsets, baselines taken as they are."""
    offset = main.arrival_s - early.arrival_s
    best, least = np.zeros(4), np.inf
    for share in np.linspace(0.005, 0.16, 9):
        known = table(float(share))
        for shift in offset + np.linspace(-1.5, 1.5, 13):
            x = np.array([share, shift, 0.0, 0.0])
            shared, predicted, _ = _predict(x, early, main, ratio, known)
            cost = float(((predicted - main.relative)[shared] ** 2).mean()) if shared.any() else np.inf
            if cost < least:
                best, least = x, cost
    return best


def _predict(
    x: np.ndarray, early: BloodCurve, main: BloodCurve, ratio: float, table: SignalTable
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames of the main series that the prebolus covers, predicted signal over baseline, its standard deviation."""
    diluted, _ = table.concentration(early.relative / (1 + x[2]))
    at = main.times_s - x[1]
    shared = (at >= early.times_s[0]) & (at <= early.times_s[-1])
    weak = CubicSpline(early.times_s, diluted)(np.clip(at, early.times_s[0], early.times_s[-1]))
    growth = ratio * _slope(table, ratio * weak) / _slope(table, weak)
    sd = np.sqrt((GAIN_SD * main.relative) ** 2 + main.scatter**2 + (early.scatter * growth) ** 2)
    return shared, table.relative(ratio * weak), sd


def _combined(x: np.ndarray, early: BloodCurve, main: BloodCurve, ratio: float, table: SignalTable) -> np.ndarray:
    diluted, _ = table.concentration(early.relative / (1 + x[2]))
    at = main.times_s - x[1]
    shared = (at >= early.times_s[0]) & (at <= early.times_s[-1])
    weak = CubicSpline(early.times_s, diluted)(np.clip(at, early.times_s[0], early.times_s[-1]))
    own, _ = table.concentration(main.relative / (1 + x[3]))
    scaled = ratio * weak
    sd_scaled = ratio * np.hypot(early.scatter, GAIN_SD / 2 * table.relative(weak)) / _slope(table, weak)
    known = np.where(shared, scaled, own)
    sd_own = np.hypot(main.scatter, GAIN_SD * main.relative) / np.maximum(_slope(table, known), 1e-6)
    sd_own = np.hypot(sd_own, MODEL_SD * known)
    w_scaled, w_own = np.where(shared, 1 / sd_scaled**2, 0.0), 1 / sd_own**2
    return (w_scaled * scaled + w_own * own) / (w_scaled + w_own)


def _slope(table: SignalTable, concentration_mm: np.ndarray) -> np.ndarray:
    """Signal over baseline that a mmol/L adds."""
    d = 1e-3
    return (table.relative(concentration_mm + d) - table.relative(concentration_mm - d)) / (2 * d)
