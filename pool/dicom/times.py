"""When each frame was taken: scanners disagree about the tag that says so, and this page decides.

Measured on real first-pass series: Siemens raises AcquisitionTime and ContentTime frame by frame and holds TriggerTime
still; GE repeats a few AcquisitionTimes and counts TriggerTime from the start of the run; Philips does as GE; enhanced
files stamp every frame. So the first tag wins that differs from frame to frame and rises with the scanner's own count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.valuerep import DT, TM

if TYPE_CHECKING:
    from pool.dicom.frames import FrameRecord

TIME_KEYS = (
    "FrameAcquisitionDateTime",
    "FrameReferenceDateTime",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "TemporalPositionTimeOffset",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "ContentTime",
    "TemporalPositionIdentifier",
)
"""Tags that may hold a frame's time, best first. The last one counts steps of TemporalResolution."""
CLOCK_KEYS = (
    "FrameAcquisitionDateTime",
    "FrameReferenceDateTime",
    "AcquisitionDateTime",
    "AcquisitionTime",
    "ContentTime",
)
"""Tags that hold a time of day."""
LEAST_SPAN_S = 2.0
"""A first pass takes 10 s and more; frames within 2 s show one heart beat (a cine) or the reconstruction's clock."""
DAY_S = 86_400.0
"""Times of day stay below this [s]; times with a date are counted from 2000 and lie far above."""


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """The order and the times of the frames of every slice."""

    key: str
    """The tag that won."""
    order: tuple[tuple[int, ...], ...]
    """For every slice the indices of its frames, in order of time."""
    times_s: tuple[np.ndarray, ...]
    """For every slice the times in that order [s]; the first frame of the study is at 0."""
    remark: str
    """Why this tag."""
    contradicts_count: bool
    """True where no tag rises with the scanner's own count of frames, and the tag's order was believed."""

    @property
    def span_s(self) -> float:
        """Time from the first to the last frame [s], the longest of all slices."""
        return max(float(times[-1] - times[0]) for times in self.times_s)


def time_values(value: Callable[..., Any]) -> dict[str, float]:
    """Seconds by tag, of the tags present in one frame; `value(keyword, default)` looks a tag up.

    A value that cannot be parsed counts as absent: another tag may serve.
    """
    found: dict[str, float] = {}
    for key in TIME_KEYS:
        raw = value(key)
        if raw is None:
            continue
        try:
            if key.endswith("DateTime"):
                parsed = DT(str(raw))
                found[key] = _seconds(parsed) if parsed is not None else np.nan
            elif key in ("AcquisitionTime", "ContentTime"):
                moment = TM(str(raw))
                assert moment is not None
                found[key] = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6
            elif key == "TemporalPositionIdentifier":
                found[key] = float(raw) * float(value("TemporalResolution", np.nan)) / 1e3
            else:
                found[key] = float(raw) / (1.0 if key == "TemporalPositionTimeOffset" else 1e3)
        except (ValueError, TypeError, AssertionError, OverflowError):
            continue
        if not np.isfinite(found[key]):
            del found[key]
    return found


def time_axis(slices: Sequence[Sequence[FrameRecord]]) -> TimeAxis | str:
    """The first tag that serves every slice, or why none does.

    A tag serves where it is present in every frame, differs from frame to frame of a slice, rises with the scanner's
    count of instances and spans at least `LEAST_SPAN_S`. Where no tag rises with the count, the first one that is
    unique is believed and `contradicts_count` says so.
    """
    for believe_count in (True, False):
        reasons: list[str] = []
        for key in TIME_KEYS:
            spans_midnight = key in CLOCK_KEYS and _spans_midnight(
                [record.times[key] for records in slices for record in records if key in record.times]
            )
            ordered = [_ordered(key, records, believe_count, spans_midnight) for records in slices]
            reason = next((o for o in ordered if isinstance(o, str)), "")
            if reason:
                reasons.append(f"{key} {reason}")
                continue
            pairs = [o for o in ordered if not isinstance(o, str)]
            first = min(times[0] for _, times in pairs)
            axis = TimeAxis(
                key,
                tuple(tuple(int(i) for i in order) for order, _ in pairs),
                tuple(np.round(times - first, 6) for _, times in pairs),
                f"frame times from {key}" + (f" ({'; '.join(_telling(reasons))})" if _telling(reasons) else ""),
                not believe_count,
            )
            if axis.span_s >= LEAST_SPAN_S:
                return axis
            reasons.append(f"{key} spans {axis.span_s:.2f} s")
    return ", ".join(_telling(reasons)) or "no time tag"


def _spans_midnight(clocks_s: Sequence[float]) -> bool:
    """Whether times of day of one run lie on both sides of midnight: decided on all slices, so that none is left."""
    return bool(clocks_s) and max(clocks_s) < DAY_S and max(clocks_s) - min(clocks_s) > DAY_S / 2


def _ordered(
    key: str, records: Sequence[FrameRecord], believe_count: bool, spans_midnight: bool
) -> tuple[np.ndarray, np.ndarray] | str:
    if any(key not in record.times for record in records):
        return "is absent"
    values = np.array([record.times[key] for record in records])
    if spans_midnight:
        values = np.where(values < DAY_S / 2, values + DAY_S, values)
    n_distinct = len(np.unique(values))
    if n_distinct < len(values):
        return f"has {n_distinct} distinct {'value' if n_distinct == 1 else 'values'} in {len(values)} frames"
    order = np.argsort(values)
    counts = [record.order for record in records]
    if believe_count and len(set(counts)) == len(counts):
        by_count = sorted(range(len(counts)), key=lambda i: counts[i])
        if list(order) != by_count:
            return "does not rise with the instance numbers"
    return order, values[order]


def _telling(reasons: Sequence[str]) -> list[str]:
    """Absent tags are the rule; the ones that are there and were passed over are worth a word."""
    return [reason for reason in reasons if not reason.endswith("is absent")]


def _seconds(moment: datetime) -> float:
    """Seconds since 2000, near enough to keep microseconds; the zone is left aside, as frames of one study share it."""
    return (moment.replace(tzinfo=None) - datetime(2000, 1, 1)).total_seconds()
