"""What the labels of a slice say about the heart: cavities, centre, where the septum lies, AHA segments."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.errors import SettingsError
from pool.shapes import BLOOD_POOL, MYOCARDIUM, Labels, Mask

SIX_SEGMENTS = ("anteroseptal", "anterior", "anterolateral", "inferolateral", "inferior", "inferoseptal")
"""Basal and mid slices, clockwise in the image from the middle of the septum, 60 degrees each."""
FOUR_SEGMENTS = ("septal", "anterior", "lateral", "inferior")
"""Apical slices, clockwise in the image, 90 degrees each; the first is centred on the middle of the septum."""
APEX = "apex"
"""Level name of a slice with four segments; every other level has six."""
LEFT_OF_IMAGE_DEG = 180.0
"""Where the RV lies in a short-axis slice in radiological display, taken where the labels do not show it."""


@dataclass(frozen=True, eq=False)
class TrueHeart:
    """The heart of one slice as its labels show it. Angles rise clockwise in the image from its column axis [deg]."""

    myocardium: Mask
    left_pool: Mask
    """Cavity of the LV: what the myocardium encloses, whether or not the labels say blood pool; where it encloses
    nothing, the piece of blood pool nearest to its centre."""
    right_pool: Mask
    """All other blood pool; empty where the labels leave the RV out."""
    centre_px: tuple[float, float]
    """Centre of the LV blood pool (of the myocardium where there is none): row, col."""
    septum_deg: float
    """Direction from the LV's centre to the RV's: the middle of the septum."""
    level: str
    """`apex` has four segments, every other level six."""

    @classmethod
    def from_labels(cls, labels: Labels, level: str) -> TrueHeart:
        """The heart under labels `row col`: 0 background, 1 myocardium, 2 blood pool (RV included or not).

        Without RV in the labels the septum is taken to face the image's left, as in radiological display. That decides
        the *names* of segments alone, neither how many there are nor whether an outline is whole.

        Raises:
            SettingsError: labels without myocardium.
        """
        myocardium = labels == MYOCARDIUM
        if not myocardium.any():
            raise SettingsError("labels", "must show some myocardium", "none", "Leave the slice out.")
        pool = labels == BLOOD_POOL
        left = ndimage.binary_fill_holes(myocardium) & ~myocardium
        if pool.any() and not left.any():
            left = _nearest_piece(pool, _centre(myocardium))
        right = pool & ~left
        row, col = _centre(left if left.any() else myocardium)
        septum_deg = LEFT_OF_IMAGE_DEG
        if right.any():
            right_row, right_col = _centre(right)
            septum_deg = math.degrees(math.atan2(right_row - row, right_col - col)) % 360.0
        return cls(myocardium, left, right, (row, col), septum_deg, level)

    @property
    def segments(self) -> tuple[str, ...]:
        """Names of the slice's AHA segments, clockwise in the image."""
        return FOUR_SEGMENTS if self.level == APEX else SIX_SEGMENTS

    def segment_at(self, angle_deg: float) -> str:
        """The AHA segment in a direction from the LV's centre."""
        width_deg = 360.0 / len(self.segments)
        first_deg = self.septum_deg - (width_deg / 2 if self.level == APEX else 0.0)
        return self.segments[int((angle_deg - first_deg) % 360.0 // width_deg)]


def _centre(mask: Mask) -> tuple[float, float]:
    rows, cols = np.nonzero(mask)
    return float(rows.mean()), float(cols.mean())


def _nearest_piece(mask: Mask, point: tuple[float, float]) -> Mask:
    pieces, _ = ndimage.label(mask)
    where = np.argwhere(mask)
    nearest = where[int(np.hypot(*(where - np.array(point)).T).argmin())]
    return pieces == pieces[tuple(nearest)]
