"""The arterial input function of a study: from the slices themselves, a series of its own, or a prebolus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.interpolate import CubicSpline

from pool.errors import SettingsError, StudyError
from pool.perfusion.blood_curve import SUBJECT, BloodCurve, blood_curve, mask_on, require_first_pass
from pool.perfusion.dual_bolus import match_boluses
from pool.perfusion.fermi_model import InputFunction
from pool.perfusion.proton_density import ProtonDensity
from pool.perfusion.regions import SliceRegions
from pool.perfusion.results import AIF_SERIES, ASSUMED, LV_BLOOD, PREBOLUS, PROTON_DENSITY, AifRecord
from pool.perfusion.sequence import SequenceValues
from pool.perfusion.settings import FlowSettings
from pool.perfusion.signal import SignalTable
from pool.series import PerfusionSeries

SINGLE_BOLUS = (
    "flow from a single bolus with an assumed saturation compares segments but is no measurement: 0.9 to 3 times the "
    "truth on phantoms; a prebolus, an AIF series or proton-density frames make it one"
)
LEAD_S, TAIL_S = 3.0, 2.0
"""Of the fine grid before the first and after the last frame [s]."""


@dataclass(frozen=True, eq=False)
class AifSeries:
    """Another series that the input function is taken from.

    Raises:
        SettingsError: an unknown kind.
    """

    series: PerfusionSeries
    kind: str
    """`aif-series` (the same injection at low resolution) or `dual-bolus` (a prebolus)."""
    sequence: SequenceValues | None = None
    """Of an AIF series; None where it is that of the main series, as with a prebolus."""

    def __post_init__(self) -> None:
        if self.kind not in (AIF_SERIES, PREBOLUS):
            raise SettingsError("input function", f"must be from {AIF_SERIES} or {PREBOLUS}", repr(self.kind))


@dataclass(frozen=True, eq=False)
class ArterialInput:
    """The input function and all that tissue has to be read with."""

    function: InputFunction
    record: AifRecord
    unsaturated: float
    """Share of the magnetisation that survives the saturation pulse."""
    arrival_s: float
    """In the LV, on the clock of the main series [s]."""
    end_s: float
    """Later frames are left out of fits [s]."""
    times_s: np.ndarray
    """Of the samples below, on the clock of the main series, `time` [s]."""
    samples_mm: np.ndarray
    """Measured concentrations, `time` [mmol/L]."""
    remarks: tuple[str, ...]
    """What was assumed."""


def find_input(
    series: PerfusionSeries,
    sequence: SequenceValues,
    index: int,
    regions: SliceRegions,
    settings: FlowSettings,
    other: AifSeries | None = None,
    proton_density: ProtonDensity | None = None,
) -> ArterialInput:
    """The input function of a study.

    Args:
        series: main bolus.
        sequence: of it.
        index: number of the slice whose LV is used, the most basal one with an outline.
        regions: of that slice.
        settings: agent, ratio of doses, native T1.
        other: AIF series or prebolus; without one the slice's own blood is used.
        proton_density: frames that tell the share which survives saturation.

    Raises:
        StudyError: no cavity, no bolus, clipped samples, a first pass that is not whole.
    """
    spacing = series.pixel_spacing_mm
    if spacing is None:
        raise StudyError(
            SUBJECT,
            "needs frames as the scanner wrote them",
            "a prepared slice without times and spacing",
            "Send DICOM.",
        )
    main = blood_curve(series.frames[index], series.times_s[index], regions.left_pool, spacing)
    blood, agent = settings.blood(sequence.field_t), settings.relaxivities(sequence.field_t)
    unsaturated, remarks, known_from = settings.unsaturated, [], ASSUMED
    if proton_density is not None:
        unsaturated, known_from = proton_density.unsaturated(index, main, blood, agent, sequence), PROTON_DENSITY
    elif other is None or other.kind != PREBOLUS:
        remarks.append(f"{unsaturated:.0%} of the magnetisation was taken to survive the saturation pulse")
    kind, clipped, ratio, n_px, name = LV_BLOOD, False, None, main.n_px, regions.name
    times, arrival = main.times_s, main.arrival_s
    table = SignalTable.of(blood, agent, sequence, unsaturated)
    if other is None:
        samples, held = table.concentration(main.relative)
        clipped = refuse_clipped(held, settings, "Give a prebolus (--prebolus) or an AIF series (--aif).")
        reached = float(table.saturation(main.relative.max()))
        if known_from == ASSUMED:
            remarks.append(SINGLE_BOLUS)
    elif other.kind == PREBOLUS:
        early, remark = _other_curve(series, index, main, regions, other.series, keep_pixels=True)
        matched = match_boluses(early, main, settings.dose_ratio, blood, agent, sequence)
        samples, unsaturated, kind, ratio = matched.concentration_mm, matched.unsaturated, PREBOLUS, settings.dose_ratio
        known_from = PREBOLUS
        table = SignalTable.of(blood, agent, sequence, unsaturated)
        reached = float(table.saturation(early.relative.max()))
        remarks += remark
    else:
        own = other.sequence or sequence
        curve, remark = _other_curve(series, index, main, regions, other.series, keep_pixels=False)
        own_table = SignalTable.of(settings.blood(own.field_t), settings.relaxivities(own.field_t), own, unsaturated)
        samples, held = own_table.concentration(curve.relative)
        clipped = refuse_clipped(held, settings, "Its saturation time is too long for this dose.")
        reached = float(own_table.saturation(curve.relative.max()))
        offset = settings.aif_clock_offset_s
        offset = main.arrival_s - curve.arrival_s if offset is None else offset
        times, arrival, kind, n_px = curve.times_s + offset, curve.arrival_s + offset, AIF_SERIES, curve.n_px
        remarks += remark
    require_first_pass(times, samples)
    samples = np.where(times <= arrival - 0.8, 0.0, samples)
    record = AifRecord(
        source=kind,
        slice_name=name,
        n_px=n_px,
        peak_mm=round(float(samples.max()), 4),
        saturation=round(reached, 4),
        main_saturation=round(float(table.saturation(main.relative.max())), 4),
        clipped=clipped,
        arrival_s=round(float(arrival), 3),
        dose_ratio=ratio,
        unsaturated=round(float(unsaturated), 4),
        unsaturated_from=known_from,
    )
    last_s = float(series.times_s.max())
    function = on_fine_grid(times, samples, min(float(times[0]), 0.0), last_s, settings.grid_step_s)
    end_s = float(times[int(samples.argmax())]) + settings.after_peak_s
    return ArterialInput(function, record, float(unsaturated), main.arrival_s, end_s, times, samples, tuple(remarks))


def _other_curve(
    series: PerfusionSeries,
    index: int,
    main: BloodCurve,
    regions: SliceRegions,
    other: PerfusionSeries,
    keep_pixels: bool,
) -> tuple[BloodCurve, list[str]]:
    """LV blood in another series: the same pixels, or its cavity chosen anew."""
    spacing = other.pixel_spacing_mm
    if spacing is None:
        raise StudyError(SUBJECT, "its series needs times and spacing", "a prepared slice", "Send DICOM.")
    mask, there, remark = mask_on(main.pixels if keep_pixels else regions.left_pool, series, other, index)
    chosen = mask if keep_pixels else None
    curve = blood_curve(other.frames[there], other.times_s[there], mask, spacing, chosen)
    return curve, [remark] if remark else []


def refuse_clipped(held: np.ndarray, settings: FlowSettings, remedy: str) -> bool:
    """Whether samples are clipped.

    Raises:
        StudyError: they are, and the settings do not allow it.
    """
    n = int(held.sum())
    if n and not settings.allow_clipped:
        raise StudyError(
            SUBJECT,
            "no sample may lie where the signal no longer rises with the concentration",
            f"{n} of {held.size} clipped",
            f"{remedy} Flow from it would be too high.",
        )
    return n > 0


def on_fine_grid(
    times_s: np.ndarray, samples_mm: np.ndarray, first_s: float, last_s: float, step_s: float
) -> InputFunction:
    """A cubic spline through the samples on a regular grid; 0 before the first sample that is not 0, and constant
    after the last.

    Args:
        times_s, samples_mm: `time` [s], [mmol/L].
        first_s, last_s: what the grid must cover, with a margin [s].
        step_s: step at most; a quarter of the samples' interval where that is shorter [s].
    """
    step_s = min(step_s, float(np.median(np.diff(times_s))) / 4)
    grid = np.arange(first_s - LEAD_S, max(last_s, float(times_s[-1])) + TAIL_S, step_s)
    fine = CubicSpline(times_s, samples_mm)(np.clip(grid, times_s[0], times_s[-1]))
    risen = np.flatnonzero(samples_mm != 0)
    start = float(times_s[max(int(risen[0]) - 1, 0)]) if risen.size else float("inf")
    fine = np.where(grid <= start, 0.0, fine)
    return InputFunction(float(grid[0]), step_s, torch.from_numpy(fine))
