"""Philips' private scaling, which makes pixels of different series comparable.

Philips writes RescaleSlope (RS) and RescaleIntercept (RI) for display and a private scale slope (SS, 2005,100E). The
signal in floating-point units is (stored x RS + RI) / (RS x SS): only that is comparable between a run, its prebolus
and its rest (Chenevert et al., Transl Oncol 2014, doi:10.1593/tlo.13811).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from pool.dicom.frames import FrameRecord

SCALE_SLOPE = (0x2005, 0x0E, ("Philips MR Imaging DD 001", "Philips Imaging DD 001"))
"""Group, element and creators of the scale slope."""
PRIVATE_FRAME_GROUPS = (0x2005, 0x0F, ("Philips MR Imaging DD 005", "Philips Imaging DD 005"))
"""In enhanced files the slope lies in a private sequence of every frame."""


def philips_scale_slope(sources: Sequence[Dataset]) -> float | None:
    """The scale slope of one frame; None where there is none or it makes no sense.

    Args:
        sources: data sets that may hold it: functional groups of a frame, then the file.
    """
    for source in sources:
        if not any(tag >> 16 == SCALE_SLOPE[0] for tag in source.keys()):  # noqa: SIM118  Dataset iterates over elements
            continue
        for holder in (source, *_private_items(source)):
            found = _private(holder, *SCALE_SLOPE)
            if isinstance(found, bytes) and len(found) == 4:  # from implicit VR, by readers without the dictionary
                (found,) = struct.unpack("<f", found)
            try:
                slope = float(found)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if math.isfinite(slope) and slope > 0:
                return slope
    return None


def value_transforms(records: Sequence[FrameRecord]) -> tuple[list[tuple[float, float]], str]:
    """Slope and intercept of every frame, and a remark where they are not the file's own.

    Frames share one unit: floating-point units where every frame has a scale slope, display values otherwise.
    """
    own = [(record.slope, record.intercept) for record in records]
    n_scaled = sum(record.scale_slope is not None for record in records)
    if not n_scaled:
        return own, ""
    if n_scaled < len(records) or any(record.slope == 0 for record in records):
        return own, f"Philips' scale slope is absent from {len(records) - n_scaled} frames: pixels are display values"
    scaled = [
        (1.0 / scale, record.intercept / (record.slope * scale))
        for record in records
        if (scale := record.scale_slope) is not None
    ]
    return scaled, "pixels are in Philips' floating-point units, by the private scale slope"


def _private_items(source: Dataset) -> list[Dataset]:
    found = _private(source, *PRIVATE_FRAME_GROUPS)
    return [item for item in found if isinstance(item, Dataset)][:1] if isinstance(found, Sequence) else []


def _private(source: Dataset, group: int, element: int, creators: Sequence[str]) -> object:
    for creator in creators:
        try:
            return source.private_block(group, creator)[element].value
        except KeyError:
            continue
    return None
