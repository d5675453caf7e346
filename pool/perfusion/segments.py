"""RV insertion points and the AHA segments that follow from them, on native pixels.

Angles are measured about the LV's centre in millimetres, clockwise in the image from its column axis. The septum's
middle lies halfway between the two insertion points; from there a basal or mid slice has six sectors of 60 degrees and
an apical one four of 90 (Cerqueira et al., Circulation 2002;105:539). Which way round is towards the front follows from
the slice's position in the patient, or, without one, from radiological display.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from pool.errors import SettingsError, StudyError
from pool.perfusion.regions import SliceRegions
from pool.series import BASE_TO_APEX_LPS, CLEAR_COSINE, SliceGeometry

LEVELS = ("base", "mid", "apex")
"""Levels that have segments."""
_BASAL = ("anterior", "anteroseptal", "inferoseptal", "inferior", "inferolateral", "anterolateral")
_APICAL = ("anterior", "septal", "inferior", "lateral")
SEGMENT_NAMES: dict[int, str] = {
    number: f"{level} {wall}"
    for number, (level, wall) in enumerate(
        (
            *(("basal", wall) for wall in _BASAL),
            *(("mid", wall) for wall in _BASAL),
            *(("apical", wall) for wall in _APICAL),
        ),
        1,
    )
}
"""The 16 segments by number."""
_FIRST = {"base": 1, "mid": 7, "apex": 13}
_TURN_TO_ANTERIOR = {6: 60.0, 4: 45.0}
"""From the middle of the septum to where the anterior segment begins [degrees], by the number of segments."""
N_RAYS = 360
SEPTAL_GAP_MM = 3.0
"""The RV touches the LV where the gap between them is at most this much wider than its median [mm]."""
SEPTUM_DEG = (50.0, 170.0)
"""Angles that a septum subtends; others make the points doubtful."""


@dataclass(frozen=True)
class Orientation:
    """How the segments of a slice are turned."""

    septum_deg: float
    """Direction of the septum's middle [degrees]."""
    insertion_px: tuple[tuple[float, float], tuple[float, float]] | None
    """Anterior and inferior insertion point, (row, col); None where they were not found in this slice."""
    source: str
    """`rv`, `rv-doubtful`, `slice NAME` or `given`."""


def levels_of(names: Sequence[str]) -> tuple[str, ...]:
    """Level of every slice, from its name where that is a level, else from its place in the order base to apex.

    One slice alone is taken as mid; of more, thirds of the order are base, mid and apex.
    """
    if len(names) == 1:
        return (names[0] if names[0] in LEVELS else "mid",)
    return tuple(name if name in LEVELS else LEVELS[3 * i // len(names)] for i, name in enumerate(names))


def anterior_is_clockwise(geometry: SliceGeometry | None) -> bool:
    """Whether the front of the heart lies clockwise in the image from the middle of the septum.

    It does where the slice is seen from the apex, as in radiological display, which is assumed without a position.
    """
    if geometry is None:
        return True
    towards_apex = float(geometry.normal @ BASE_TO_APEX_LPS)
    return abs(towards_apex) < CLEAR_COSINE or towards_apex < 0


def find_insertion(regions: SliceRegions, spacing_mm: tuple[float, float], clockwise: bool) -> Orientation | None:
    """Where the RV meets the LV, from the masks of one slice; None where the RV does not touch it.

    Rays from the LV's centre give the outer radius of the wall and the nearest RV blood behind it; the septum is the
    arc about the RV on which the gap between the two stays narrow. The insertion points are the wall's outline at its
    ends.

    Args:
        regions: wall and cavities.
        spacing_mm: between rows, between columns.
        clockwise: see `anterior_is_clockwise`.
    """
    if not regions.right_pool.any():
        return None
    angles = np.arange(N_RAYS) * 2 * np.pi / N_RAYS
    step_mm = 0.4 * min(spacing_mm)
    radii = np.arange(0.0, 90.0, step_mm)
    rows = regions.centre_px[0] + np.outer(np.sin(angles), radii) / spacing_mm[0]
    cols = regions.centre_px[1] + np.outer(np.cos(angles), radii) / spacing_mm[1]
    wall, right = (
        ndimage.map_coordinates(mask.astype(np.float32), [rows, cols], order=1, mode="constant") >= 0.5
        for mask in (regions.myocardium | regions.left_pool, regions.right_pool)
    )
    outer = np.where(wall.any(1), radii[wall.shape[1] - 1 - wall[:, ::-1].argmax(1)], np.nan)
    gap = np.where(right.any(1), radii[right.argmax(1)] - outer, np.inf)
    touching = gap <= (np.median(gap[np.isfinite(gap)]) + SEPTAL_GAP_MM if np.isfinite(gap).any() else -1.0)
    arc = _longest_arc(touching)
    if arc is None:
        return None
    first, n = arc  # clockwise from its first ray
    ends = [(first + n - 1) % N_RAYS, first % N_RAYS]
    anterior, inferior = ends if clockwise else ends[::-1]
    points = tuple(
        (
            float(regions.centre_px[0] + np.sin(angles[i]) * outer[i] / spacing_mm[0]),
            float(regions.centre_px[1] + np.cos(angles[i]) * outer[i] / spacing_mm[1]),
        )
        for i in (anterior, inferior)
    )
    width_deg = (n - 1) * 360.0 / N_RAYS
    source = "rv" if SEPTUM_DEG[0] <= width_deg <= SEPTUM_DEG[1] else "rv-doubtful"
    middle = (first + (n - 1) / 2) * 360.0 / N_RAYS % 360.0
    return Orientation(float(middle), (points[0], points[1]), source)


def _longest_arc(ring: np.ndarray) -> tuple[int, int] | None:
    """First index and length of the longest run of True on a ring, small breaks closed."""
    closed = ndimage.binary_closing(np.tile(ring, 3), np.ones(11, dtype=bool))[N_RAYS : 2 * N_RAYS]
    if not closed.any():
        return None
    if closed.all():
        return 0, N_RAYS
    start = int(np.flatnonzero(~closed)[0])
    runs, _ = ndimage.label(np.roll(closed, -start))
    lengths = np.bincount(runs)[1:]
    best = int(lengths.argmax()) + 1
    return (start + int(np.flatnonzero(runs == best)[0])) % N_RAYS, int(lengths[best - 1])


def orient(
    slices: Sequence[SliceRegions],
    spacing_mm: tuple[float, float],
    clockwise: bool,
    given_deg: Mapping[str, float] | float | None = None,
) -> tuple[Orientation, ...]:
    """How the segments of every slice are turned.

    A slice whose RV does not show takes the direction of the nearest slice whose RV does, and says so.

    Args:
        slices: from base to apex.
        spacing_mm: between rows, between columns.
        clockwise: see `anterior_is_clockwise`.
        given_deg: direction of the septum's middle for all slices or by name, which then decides [degrees].

    Raises:
        StudyError: no slice shows the RV and no angle is given.
        SettingsError: an angle for a slice that does not exist, or one that is not finite.
    """
    names = [item.name for item in slices]
    given: dict[str, float] = dict(given_deg) if isinstance(given_deg, Mapping) else {}
    if given_deg is not None and not isinstance(given_deg, Mapping):
        given = dict.fromkeys(names, float(given_deg))
    for name, angle in given.items():
        if name not in names:
            raise SettingsError("septum angle", f"must be of one of the slices {', '.join(names)}", repr(name))
        if not math.isfinite(angle):
            raise SettingsError("septum angle", "must be a number of degrees", str(angle))
    found = [find_insertion(item, spacing_mm, clockwise) for item in slices]
    seen = [i for i, item in enumerate(found) if item is not None and item.source == "rv"]
    seen = seen or [i for i, item in enumerate(found) if item is not None]
    result = []
    for i, (item, own) in enumerate(zip(slices, found)):
        if item.name in given:
            points = own.insertion_px if own else None
            result.append(Orientation(float(given[item.name]) % 360.0, points, "given"))
        elif own is not None and i in seen:
            result.append(own)
        elif seen:
            other = min(seen, key=lambda j: abs(j - i))
            lent = found[other]
            assert lent is not None  # `seen` lists those that were found
            result.append(replace(lent, insertion_px=None, source=f"slice {names[other]}"))
        else:
            raise StudyError(
                f"slice {item.name}",
                "needs the RV in some slice, or an angle, to tell its segments apart",
                "no RV beside the LV",
                "Give the direction of the septum's middle, in degrees clockwise from the image's right, with "
                "--septum-deg.",
            )
    return tuple(result)


def segment_map(
    regions: SliceRegions, orientation: Orientation, spacing_mm: tuple[float, float], clockwise: bool
) -> np.ndarray:
    """AHA segment of every myocardial pixel, uint8 `row col`, 0 elsewhere.

    Raises:
        SettingsError: a level without segments.
    """
    if regions.level not in LEVELS:
        raise SettingsError(
            f"slice {regions.name}",
            f"its level must be {', '.join(LEVELS)}",
            repr(regions.level),
        )
    n = 4 if regions.level == "apex" else 6
    rows, cols = np.nonzero(regions.myocardium)
    angle = np.degrees(
        np.arctan2((rows - regions.centre_px[0]) * spacing_mm[0], (cols - regions.centre_px[1]) * spacing_mm[1])
    )
    turn = angle - orientation.septum_deg if clockwise else orientation.septum_deg - angle
    # from the far end of the anterior segment, segments follow one another backwards: anterior, septum, inferior, ...
    from_anterior = (_TURN_TO_ANTERIOR[n] + 360.0 / n - turn) % 360.0
    index = np.minimum((from_anterior // (360.0 / n)).astype(int), n - 1)
    result = np.zeros(regions.myocardium.shape, dtype=np.uint8)
    result[rows, cols] = _FIRST[regions.level] + index
    return result
