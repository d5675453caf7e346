"""When the images of an ASL study were taken: inversion times, and the order of the images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pool.asl.series import PLAUSIBLE_TI_S
from pool.dicom.frames import FrameRecord
from pool.dicom.times import CLOCK_KEYS, DAY_S


def inversion_time_s(record: FrameRecord) -> float | None:
    """Inversion to image [s] as the header states it; None where it does not, or states none that can be meant.

    Trigger and acquisition times do not serve: they tell when the image was taken, not when the inversion was, and the
    nominal RR interval is a mean of which flow by pairs would be wrong.
    """
    found = record.value("InversionTime")
    if found is None:
        several = record.value("InversionTimes", [])
        values = [several] if isinstance(several, int | float) else list(several)
        found = values[0] if len(values) == 1 else None  # of several nobody says which one the frame has
    try:
        ti_s = float(found) / 1e3 if found is not None else 0.0
    except (TypeError, ValueError):
        return None
    low, high = PLAUSIBLE_TI_S
    return ti_s if low <= ti_s <= high else None


def clocks_s(records: Sequence[FrameRecord]) -> np.ndarray | None:
    """A time for every image [s], by the first tag with a time of day that all have and no two share; None without."""
    for key in CLOCK_KEYS:
        if all(key in record.times for record in records):
            values = np.array([record.times[key] for record in records])
            if values.max() < DAY_S and np.ptp(values) > DAY_S / 2:  # on both sides of midnight
                values = np.where(values < DAY_S / 2, values + DAY_S, values)
            if len(np.unique(values)) == len(values):
                return values
    return None


def order_of(records: Sequence[FrameRecord]) -> list[int] | None:
    """Indices of images in the order of their taking: by the clock, or by the count of one series; None without."""
    clock = clocks_s(records)
    if clock is not None:
        return [int(i) for i in np.argsort(clock)]
    counts = [record.order for record in records]
    if len({record.series_uid for record in records}) == 1 and len(set(counts)) == len(counts):
        return sorted(range(len(counts)), key=lambda i: counts[i])
    return None
