"""Blood flow of an ASL study in an outline, as a whole and by AHA segment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pool.asl.series import AslSeries
from pool.errors import PoolError
from pool.perfusion.asl import LEVEL, AslFlow, AslValues, measure_asl
from pool.perfusion.regions import SliceRegions
from pool.perfusion.segments import SEGMENT_NAMES, find_insertion, segment_map
from pool.shapes import BLOOD_POOL, Mask
from pool.sweep import MASK_THRESHOLD
from pool.trials.maps import TrialMaps

NO_NUMBER = "flow came out as no number: are baseline and inversion times those of these images?"
"""Why there is no flow where it is infinite or NaN."""


@dataclass(frozen=True)
class AslRegionFlow:
    """Flow of the whole outline or of one AHA segment."""

    name: str
    mbf_ml_min_g: float
    """Mean over the pairs [mL/min/g]."""
    physiological_noise: float | None
    """Standard deviation over the pairs [mL/min/g]; None of a single pair."""


def flow_in_outline(
    series: AslSeries, chosen: TrialMaps, values_for: Callable[[float | None], AslValues]
) -> tuple[tuple[AslRegionFlow, ...], str]:
    """Flow of the outline and of its segments, or why there is none.

    Args:
        series: the study.
        chosen: outline, and blood pools if the member tells them apart.
        values_for: what a study of that field strength is read with [T].
    """
    if series.baseline is None or series.ti_s is None:
        return (), "flow needs a baseline image and inversion times"
    if series.flow_refused:
        return (), series.flow_refused
    try:
        values = values_for(series.field_t)
        numbers, masks = _segments(series, chosen)
        regions = [chosen.mask, *masks]
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # what is not finite is told below
            found = measure_asl(series.control, series.labelled, series.baseline, series.ti_s, regions, values)
            spread = found.physiological_noise if len(series.control) > 1 else 0.0
            finite = np.isfinite(found.mbf_ml_min_g + spread).all()
    except PoolError as error:
        return (), str(error)
    if not finite:
        return (), NO_NUMBER
    names = ["myocardium", *(SEGMENT_NAMES[number] for number in numbers)]
    return tuple(_region(name, found, row) for row, name in enumerate(names)), ""


def _segments(series: AslSeries, chosen: TrialMaps) -> tuple[list[int], list[Mask]]:
    """Numbers and masks of the AHA segments; none where the member tells no RV apart."""
    if len(chosen.probability) <= BLOOD_POOL:
        return [], []
    blood = chosen.probability[BLOOD_POOL] >= MASK_THRESHOLD
    regions = SliceRegions.of(LEVEL, LEVEL, chosen.mask, blood, series.pixel_spacing_mm)
    orientation = find_insertion(regions, series.pixel_spacing_mm, clockwise=True)
    if orientation is None:
        return [], []
    segments = segment_map(regions, orientation, series.pixel_spacing_mm, clockwise=True)
    numbers = [int(number) for number in np.unique(segments[segments > 0])]
    return numbers, [segments == number for number in numbers]


def _region(name: str, found: AslFlow, row: int) -> AslRegionFlow:
    noise = float(found.physiological_noise[row])
    return AslRegionFlow(name, float(found.mbf_ml_min_g[row]), noise if np.isfinite(noise) else None)
