"""Blood flow of an analysed study: chosen outlines and runners-up in, `StudyFlow` or a reason out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pool.errors import PoolError
from pool.perfusion.arterial import AifSeries
from pool.perfusion.measure import measure_flow
from pool.perfusion.proton_density import ProtonDensity
from pool.perfusion.regions import SliceRegions
from pool.perfusion.results import NoFlow, StudyFlow
from pool.perfusion.segments import levels_of
from pool.perfusion.settings import FlowSettings
from pool.series import PerfusionSeries
from pool.shapes import BLOOD_POOL, Mask
from pool.sweep import MASK_THRESHOLD

if TYPE_CHECKING:
    from pool.analysis import SliceAnalysis

MOST_RUNNERS_UP = 8
"""Runners-up of a slice at most, the most certain first."""
NO_SEQUENCE = (
    "blood flow: needs saturation time, flip angle, repetition and echo time and field strength; the input does not "
    "say them. Give them with --sequence."
)


@dataclass(frozen=True, eq=False)
class FlowInputs:
    """What a flow measurement can use beside the study itself."""

    other: AifSeries | None = None
    """AIF series or prebolus."""
    proton_density: ProtonDensity | None = None
    """Frames without saturation."""
    state: str | None = None
    """`stress` or `rest`, if known."""


def study_flow(
    series: PerfusionSeries,
    slices: Sequence[SliceAnalysis],
    settings: FlowSettings,
    inputs: FlowInputs | None = None,
) -> StudyFlow | NoFlow:
    """Measure flow under the outlines that were believed; what keeps it from being measured becomes a reason.

    Args:
        series: the study.
        slices: its analysed slices, in the same order.
        settings: see `FlowSettings`.
        inputs: what else there is.
    """
    inputs = inputs or FlowInputs()
    if series.sequence is None:
        return NoFlow(NO_SEQUENCE)
    spacing = series.pixel_spacing_mm
    try:
        outlines, rivals = {}, {}
        for i, (item, level) in enumerate(zip(slices, levels_of(series.slice_names), strict=True)):
            if not item.mask.any() or spacing is None:
                continue
            outlines[i] = SliceRegions.of(item.name, level, item.mask, blood_pool(item), spacing)
            rivals[i] = runners_up(item, settings.runner_up_margin)
        return measure_flow(
            series,
            series.sequence,
            outlines,
            settings,
            other=inputs.other,
            proton_density=inputs.proton_density,
            runners_up=rivals,
            state=inputs.state,
        )[0]
    except PoolError as error:
        return NoFlow(str(error))


def blood_pool(item: SliceAnalysis) -> Mask:
    """Blood pool (LV and RV) of the chosen member on the native grid, without its myocardium."""
    maps = item.member_maps.get(item.selection.chosen or "")
    if maps is None or len(maps.probability) <= BLOOD_POOL:
        return np.zeros_like(item.mask)
    native = item.prepared.way_back.to_native(maps.probability[BLOOD_POOL])
    return np.asarray((native >= MASK_THRESHOLD) & ~item.mask)


def runners_up(item: SliceAnalysis, margin: float) -> dict[str, Mask]:
    """Masks of the members whose U_pp is within a margin of the least, without the chosen one, by id."""
    known = sorted(
        (score.u_pp, score.member_id)
        for score in item.selection.scores
        if score.u_pp is not None and not score.ineligible
    )
    if not known:
        return {}
    limit = (1 + margin) * known[0][0]
    near = [name for u_pp, name in known if u_pp <= limit and name != item.selection.chosen]
    return {name: item.member_masks[name] for name in near[:MOST_RUNNERS_UP]}
