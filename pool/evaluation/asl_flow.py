"""Blood flow of an ASL study's AHA segments under an automatic outline and under the reference."""

from __future__ import annotations

import numpy as np

from pool.errors import StudyError
from pool.evaluation.asl import FlowRow
from pool.perfusion.asl import LEVEL, AslFlow, AslValues, measure_asl
from pool.perfusion.regions import SliceRegions
from pool.perfusion.segments import orient, segment_map
from pool.phantom.asl import AslStudy
from pool.shapes import BLOOD_POOL, MYOCARDIUM, Mask


def segment_flows(study: AslStudy, automatic: Mask, values: AslValues | None = None) -> list[FlowRow]:
    """Flow of every segment that both outlines have, over all pairs.

    Both outlines are cut at the same angles, those of the reference, so that a difference is one of the outlines.

    Args:
        study: with its truth.
        automatic: outline to judge, bool `row col`.
        values: what the study is read with.

    Raises:
        StudyError: the reference shows no RV beside the LV, an outline is empty, or a segment has no baseline signal.
    """
    truth = study.labels == MYOCARDIUM
    if not automatic.any():
        raise StudyError(f"study {study.seed}", "needs an outline to measure flow in", "an empty one")
    spacing_mm = study.pixel_spacing_mm
    reference = SliceRegions.of(LEVEL, LEVEL, truth, study.labels == BLOOD_POOL, spacing_mm)
    (orientation,) = orient([reference], spacing_mm, clockwise=True)
    judged = SliceRegions(LEVEL, LEVEL, automatic, reference.left_pool, reference.right_pool, reference.centre_px)
    maps = [segment_map(regions, orientation, spacing_mm, clockwise=True) for regions in (reference, judged)]
    numbers = [int(n) for n in np.unique(maps[0][maps[0] > 0]) if (maps[1] == n).any()]
    if not numbers:
        return []
    found = [_flow(study, [segments == n for n in numbers], values) for segments in maps]
    rows = zip(numbers, *(flow.mbf_ml_min_g for flow in found), found[1].physiological_noise)
    return [FlowRow(str(study.seed), n, float(a), float(b), float(noise)) for n, a, b, noise in rows]


def _flow(study: AslStudy, regions: list[Mask], values: AslValues | None) -> AslFlow:
    return measure_asl(study.control, study.labelled, study.baseline, study.ti_s, regions, values)
