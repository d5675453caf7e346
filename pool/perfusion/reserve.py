"""Perfusion reserve: flow under stress over flow at rest, segment by segment, of one patient."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pool.errors import InconsistentStudyError
from pool.perfusion.results import SegmentFlow, StudyFlow

STRESS, REST = "stress", "rest"


@dataclass(frozen=True)
class SegmentReserve:
    """Reserve of one AHA segment."""

    number: int
    """1 to 16."""
    name: str
    stress_ml_min_g: float | None
    """Flow under stress [mL/min/g]."""
    rest_ml_min_g: float | None
    """Flow at rest [mL/min/g]."""
    mpr: float | None
    """Stress over rest; None where either is missing."""
    standard_error: float | None
    """Of the ratio, from those of the two fits; None likewise."""
    reason: str = ""
    """Why there is no ratio."""


def perfusion_reserve(stress: StudyFlow, rest: StudyFlow) -> tuple[SegmentReserve, ...]:
    """Reserve of every segment that either study holds, in the order of their numbers.

    Args:
        stress, rest: of the same patient, which the caller knows; a state that is named must be the right one.

    Raises:
        InconsistentStudyError: two studies of the same state.
    """
    for study, wanted in ((stress, STRESS), (rest, REST)):
        if study.state is not None and study.state != wanted:
            raise InconsistentStudyError(
                "perfusion reserve", f"the {wanted} study must be a {wanted} study", study.state, "Swap the two."
            )
    found = {s.number: s for s in stress.segments}, {s.number: s for s in rest.segments}
    return tuple(_reserve(*(study.get(number) for study in found)) for number in sorted(set().union(*found)))


def _reserve(stress: SegmentFlow | None, rest: SegmentFlow | None) -> SegmentReserve:
    known = stress or rest
    assert known is not None  # one of them holds the segment
    values = [item.mbf_ml_min_g if item else None for item in (stress, rest)]
    common = (known.number, known.name, values[0], values[1])
    for name, item in ((STRESS, stress), (REST, rest)):
        if item is None:
            return SegmentReserve(*common, None, None, f"the {name} study does not hold it")
        if item.mbf_ml_min_g is None:
            return SegmentReserve(*common, None, None, f"{name}: {item.failure}")
    assert stress is not None
    assert rest is not None
    assert values[0] is not None
    assert values[1] is not None
    if values[1] <= 0:
        return SegmentReserve(*common, None, None, "rest: no flow")
    ratio = values[0] / values[1]
    errors = [(item.standard_error or 0.0) / value for item, value in ((stress, values[0]), (rest, values[1])) if value]
    return SegmentReserve(*common, ratio, ratio * math.hypot(*errors))
