"""Where slices lie: frames of one place gathered, places ordered from base to apex."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pool.dicom.frames import FrameRecord
from pool.errors import InconsistentStudyError
from pool.series import BASE_TO_APEX_LPS, SliceGeometry, order_is_clear

SAME_PLACE_MM = 0.5
"""Frames whose first pixels lie closer than this are frames of one slice; slices lie several mm apart."""
SAME_DIRECTION = 0.001
"""Largest difference between the direction cosines of parallel slices (0.06 degrees)."""


def same_grid(one: FrameRecord, other: FrameRecord) -> bool:
    """True where two frames may belong to one stack: same matrix, spacing, orientation and frame of reference."""
    return (
        one.shape == other.shape
        and one.frame_of_reference == other.frame_of_reference
        and all(abs(a - b) <= 1e-3 * b for a, b in zip(one.spacing_mm, other.spacing_mm, strict=True))
        and all(abs(a - b) <= SAME_DIRECTION for a, b in zip(one.orientation, other.orientation, strict=True))
    )


def same_place(one: FrameRecord, other: FrameRecord) -> bool:
    """True where two frames show the same slice."""
    return math.dist(one.position_mm, other.position_mm) < SAME_PLACE_MM


def by_place(records: Sequence[FrameRecord]) -> list[list[FrameRecord]]:
    """Frames gathered by the position of their first pixel."""
    places: list[list[FrameRecord]] = []
    for record in records:
        home = next((place for place in places if same_place(place[0], record)), None)
        if home is None:
            places.append([record])
        else:
            home.append(record)
    return places


def base_to_apex(places: Sequence[list[FrameRecord]]) -> tuple[list[list[FrameRecord]], bool]:
    """Slices ordered along their common normal, base first, and whether that order is clear.

    The normal is turned to point along `pool.series.BASE_TO_APEX_LPS`; slices are sorted by their position along it. A
    short-axis normal makes a small angle with that direction in every usual heart; where it does not, the order is a
    guess. The order of a single slice is always clear.

    Raises:
        InconsistentStudyError: see `slice_geometry`.
    """
    first = slice_geometry(places[0][0])
    outward = first.normal if float(first.normal @ BASE_TO_APEX_LPS) >= 0 else -first.normal
    ordered = sorted(places, key=lambda place: float(np.dot(place[0].position_mm, outward)))
    return ordered, len(places) == 1 or order_is_clear(first)


def slice_geometry(record: FrameRecord) -> SliceGeometry:
    """Geometry of one slice, checked.

    Raises:
        InconsistentStudyError: an orientation that is no pair of perpendicular unit vectors, or values not finite.
    """
    along_row, along_col = np.array(record.orientation[:3]), np.array(record.orientation[3:])
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_col)
    proper = np.allclose(lengths, 1.0, atol=1e-2) and abs(float(along_row @ along_col)) < 1e-2
    if not proper or not np.isfinite(record.position_mm).all():
        raise InconsistentStudyError(
            f"file {record.path.name}",
            "ImageOrientationPatient must be two perpendicular unit vectors, ImagePositionPatient finite",
            f"{record.orientation} at {record.position_mm}",
            "Export it again.",
        )
    x, y, z = record.position_mm
    a, b, c, d, e, f = record.orientation
    return SliceGeometry((x, y, z), (a, b, c, d, e, f))
