"""Blood flow of a study: all pixels and segments of all slices in one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from pool.errors import StudyError
from pool.perfusion.arterial import AifSeries, ArterialInput, find_input
from pool.perfusion.failures import PIXELS, REASONS, SEGMENTS, failure_codes
from pool.perfusion.fermi_fit import FermiFit, Prior, fit_fermi, prior_from
from pool.perfusion.fermi_model import Curves
from pool.perfusion.model_free import deconvolve
from pool.perfusion.proton_density import ProtonDensity
from pool.perfusion.regions import SliceRegions, averaged_wall
from pool.perfusion.results import StudyFlow
from pool.perfusion.segment_parts import parts_of
from pool.perfusion.segments import anterior_is_clockwise, orient, segment_map
from pool.perfusion.sequence import SequenceValues
from pool.perfusion.settings import FlowSettings
from pool.perfusion.signal import SignalTable
from pool.perfusion.tabulate import OutlinedSlice, segment_flow, slice_flows
from pool.perfusion.tissue_curves import TissueCurves, pixel_curves, segment_curves, slice_signals
from pool.series import PerfusionSeries
from pool.shapes import Mask


@dataclass(frozen=True, eq=False)
class FlowCurves:
    """What a fit was made from, for figures: segments in the order of `StudyFlow.segments`."""

    arterial: ArterialInput
    measured: Curves
    fit: FermiFit


@torch.no_grad()
def measure_flow(
    series: PerfusionSeries,
    sequence: SequenceValues,
    outlines: Mapping[int, SliceRegions],
    settings: FlowSettings | None = None,
    *,
    other: AifSeries | None = None,
    proton_density: ProtonDensity | None = None,
    runners_up: Mapping[int, Mapping[str, Mask]] | None = None,
    state: str | None = None,
) -> tuple[StudyFlow, FlowCurves]:
    """Measure blood flow per pixel and segment; also returns the curves and fits it was made from.

    Args:
        series: main bolus, motion-corrected.
        sequence: how it was made.
        outlines: wall and cavities by number of the slice; slices without an outline are left out.
        settings: see `FlowSettings`.
        other: AIF series or prebolus.
        proton_density: frames without saturation, on the grid of the series.
        runners_up: for some slices other members' masks, by id; their segments are measured with the same input.
        state: `stress` or `rest`.

    Raises:
        StudyError: what keeps flow from being measured, in a sentence: see `pool.perfusion.arterial` and `segments`.
        SettingsError: a field strength or level without tabulated values.
    """
    settings = settings or FlowSettings()
    if not outlines:
        raise StudyError("blood flow", "needs an outline on at least one slice", "none", "See the reasons per slice.")
    spacing = series.pixel_spacing_mm
    first = min(outlines)
    arterial = find_input(series, sequence, first, outlines[first], settings, other, proton_density)
    assert spacing is not None  # else there is no input function
    clockwise = anterior_is_clockwise(series.geometry[0] if series.geometry else None)
    ordered = [outlines[i] for i in sorted(outlines)]
    turned = dict(zip(sorted(outlines), orient(ordered, spacing, clockwise, settings.septum_deg)))
    table = SignalTable.of(
        settings.myocardium(sequence.field_t),
        settings.relaxivities(sequence.field_t),
        sequence,
        arterial.unsaturated,
    )

    def job(index: int, regions: SliceRegions) -> OutlinedSlice:
        surface = None
        if proton_density is not None:
            tissue, agent = settings.myocardium(sequence.field_t), settings.relaxivities(sequence.field_t)
            surface = proton_density.baseline(index, regions, spacing, tissue, agent, sequence, arterial.unsaturated)
        signals = slice_signals(series.frames[index], series.times_s[index], regions, arterial.arrival_s, surface)
        segment = segment_map(regions, turned[index], spacing, clockwise)
        return OutlinedSlice(index, regions, segment, averaged_wall(regions, segment, spacing), signals)

    chosen = [job(i, outlines[i]) for i in sorted(outlines)]
    others = [
        job(i, replace(outlines[i], myocardium=mask))
        for i in sorted(outlines)
        for _, mask in sorted((runners_up or {}).get(i, {}).items())
        if mask.any()
    ]
    segments = _batch([_of_segments(item, table) for item in chosen], chosen, arterial)
    fit = fit_fermi(arterial.function, segments, settings.fermi)
    fit = fit_fermi(arterial.function, segments, settings.fermi, prior := prior_from(fit, settings.fermi))
    free = deconvolve(arterial.function, segments, fit.delay_s)
    codes = failure_codes(fit, segments, arterial.arrival_s, SEGMENTS)
    flow_of_segments = _flow_by_parts(chosen, fit, table, arterial, settings, prior, spacing)
    rivals = _runner_up_flows(others, table, arterial, settings, prior, spacing) if others else {}
    pixels = _batch([pixel_curves(j.signals, j.regions.myocardium, table) for j in chosen], chosen, arterial)
    pixel_fit = fit_fermi(arterial.function, pixels, settings.fermi, prior)
    pixel_codes = failure_codes(pixel_fit, pixels, arterial.arrival_s, PIXELS).numpy()

    rows = [(item, number) for item in chosen for number in item.numbers]
    flows = tuple(
        segment_flow(item, number, flow_of_segments[k], fit, codes, free.mbf_ml_min_g, k, rivals.get(number, ()))
        for k, (item, number) in enumerate(rows)
    )
    n_failed = Counter(REASONS[code] for code in pixel_codes.tolist() if code)
    flow = StudyFlow(
        aif=arterial.record,
        slices=slice_flows(chosen, turned, pixel_fit, pixel_codes),
        segments=flows,
        state=state,
        settings_sha256=settings.sha256(sequence),
        remarks=arterial.remarks + _pulses_in_words(sequence),
        failure_counts=dict(n_failed),
    )
    return flow, FlowCurves(arterial, segments, fit)


def _pulses_in_words(sequence: SequenceValues) -> tuple[str, ...]:
    if not sequence.pulses_estimated:
        return ()
    return (f"{sequence.n_pulses_before} readout pulses were taken to precede the centre of k-space",)


def _of_segments(item: OutlinedSlice, table: SignalTable) -> TissueCurves:
    return segment_curves(item.signals, [item.averaged & (item.segment == number) for number in item.numbers], table)


def _batch(parts: Sequence[TissueCurves], jobs: Sequence[OutlinedSlice], arterial: ArterialInput) -> Curves:
    """All curves of all slices; frames after the first pass and samples that were held get no weight."""
    times = [np.broadcast_to(j.signals.times_s, part.values_mm.shape) for part, j in zip(parts, jobs)]
    at, values, spill = (
        torch.from_numpy(np.concatenate(arrays)).to(torch.float64)
        for arrays in (times, [part.values_mm for part in parts], [part.spill_mm for part in parts])
    )
    kept = np.concatenate([np.where(part.held, 0.0, part.weights) for part in parts])
    weights = torch.from_numpy(kept) * (at <= arterial.end_s)
    return Curves(values, at, weights, spill)


def _flow_by_parts(
    jobs: Sequence[OutlinedSlice],
    whole: FermiFit,
    table: SignalTable,
    arterial: ArterialInput,
    settings: FlowSettings,
    prior: Prior,
    spacing_mm: tuple[float, float],
) -> list[float]:
    """Flow of every segment as the mean over its parts; that of its whole curve where a part has no fit [mL/min/g]."""
    masks = [
        [parts_of(item.averaged & (item.segment == number), item.regions, spacing_mm) for number in item.numbers]
        for item in jobs
    ]
    parts = [segment_curves(item.signals, list(chain(*of)), table) for item, of in zip(jobs, masks)]
    curves = _batch(parts, jobs, arterial)
    fit = fit_fermi(arterial.function, curves, settings.fermi, prior)
    failed = failure_codes(fit, curves, arterial.arrival_s, PIXELS).numpy() > 0
    found, start = [], 0
    for k, of in enumerate(chain(*masks)):
        here = slice(start, start := start + len(of))
        mean = np.average(fit.mbf_ml_min_g[here].numpy(), weights=[int(mask.sum()) for mask in of])
        found.append(float(whole.mbf_ml_min_g[k]) if failed[here].any() else float(mean))
    return found


def _runner_up_flows(
    others: Sequence[OutlinedSlice],
    table: SignalTable,
    arterial: ArterialInput,
    settings: FlowSettings,
    prior: Prior,
    spacing_mm: tuple[float, float],
) -> dict[int, tuple[float, ...]]:
    """Flow of every segment under every runner-up's outline that has one, by number of the segment."""
    curves = _batch([_of_segments(item, table) for item in others], others, arterial)
    fit = fit_fermi(arterial.function, curves, settings.fermi, prior)
    codes = failure_codes(fit, curves, arterial.arrival_s, SEGMENTS).tolist()
    numbers = [number for item in others for number in item.numbers]
    flows = _flow_by_parts(others, fit, table, arterial, settings, prior, spacing_mm)
    found: dict[int, list[float]] = {}
    for number, value, code in zip(numbers, flows, codes):
        if not code:
            found.setdefault(number, []).append(value)
    return {number: tuple(values) for number, values in found.items()}
