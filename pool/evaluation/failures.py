"""Failed outlines: the paper's two visual criteria as rules that a program can apply.

Yalcinkaya et al. 2024, Methods: readers looked for "(i) inclusion of bloodpool inside the delineated myocardial
contours; (ii) noncontiguous myocardial contours in at least 1 myocardial segment". Our reading of it:

(i)  Every outline has border pixels that another reader would call blood; a reader means blood that is plainly inside.
     So: blood pool of the truth (LV or RV) that is farther than 3 mm from the blood pool's border and lies in the
     mask, 10 mm2 of it or more; or more than half of the LV's blood pool, however small (thin apical cavities).
     The limits were set on phantom hearts that three readers drew each (`inD` and `broad`), so that few outlines fail
     when they are judged by another reader's labels.
(ii) Seen from the centre of the true LV, some direction has no myocardium, over 2 degrees or more (a gap of one pixel
     is 2 degrees wide at 27 px from the centre). Only pieces of the mask that touch the true LV (myocardium and
     cavity) count, so that a stray piece elsewhere does not close a gap, and of those not what lies in the middle of
     the cavity (deeper than half its greatest depth). The gap is named by the AHA segments it lies in.

Papillary muscles and trabeculae count as blood, as in the labels, though an eye might forgive them: rates compare
between rules and pools judged here, not with the paper's. An empty mask fails. Where the labels leave the RV out, only
LV blood is judged. A ring whose broken ends overlap as seen from the centre counts as contiguous: the one break that
this misses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.errors import SettingsError
from pool.evaluation.true_heart import TrueHeart
from pool.shapes import Mask
from pool.strays import TOUCHING

PLAINLY_INSIDE_MM = 3.0
"""Blood pool farther than this from its border is plainly blood."""
LEAST_BLOOD_MM2 = 10.0
"""Less of it than this, three pixels of a scanner, goes unseen."""
MOST_OF_LEFT_POOL = 0.5
"""Share of the LV's blood pool above which an outline fails, however small the cavity is."""
N_DIRECTIONS = 360
LEAST_GAP_DEG = 2
STEP_PX = 0.25
"""Distance between the points at which a direction is looked at."""
NO_OUTLINE = "no myocardium was outlined"


@dataclass(frozen=True, eq=False)
class FailureCriteria:
    """The criteria for one slice: made from its truth once, asked for every member's mask."""

    heart: TrueHeart
    spacing_mm: tuple[float, float]
    """Distance between rows, between columns."""
    left_depth_mm: np.ndarray
    """Distance of every pixel of the LV's blood pool from its border, 0 elsewhere: `row col`."""
    right_depth_mm: np.ndarray
    """The same for the RV."""
    directions: np.ndarray
    """Flat indices of the pixels met in every direction from the centre, int64 `direction step`."""

    @classmethod
    def for_heart(cls, heart: TrueHeart, spacing_mm: tuple[float, float]) -> FailureCriteria:
        """Criteria for a slice with this truth."""
        left, right = (
            ndimage.distance_transform_edt(pool, sampling=spacing_mm) for pool in (heart.left_pool, heart.right_pool)
        )
        return cls(heart, spacing_mm, left, right, _directions(heart.centre_px, heart.myocardium.shape))

    def reasons(self, mask: Mask) -> tuple[str, ...]:
        """Why the outline failed, in words; empty if it did not.

        Raises:
            SettingsError: a mask of another shape than the truth.
        """
        if mask.shape != self.heart.myocardium.shape:
            found = f"{mask.shape} and {self.heart.myocardium.shape}"
            raise SettingsError("failed outline", "mask and truth must have the same shape", found)
        if not mask.any():
            return (NO_OUTLINE,)
        return (*self._blood(mask), *self._gaps(mask))

    def _blood(self, mask: Mask) -> list[str]:
        found = []
        pixel_mm2 = self.spacing_mm[0] * self.spacing_mm[1]
        for name, depth_mm in (("LV", self.left_depth_mm), ("RV", self.right_depth_mm)):
            inside_mm = depth_mm[mask]
            area_mm2 = pixel_mm2 * int(np.count_nonzero(inside_mm > PLAINLY_INSIDE_MM))
            if area_mm2 >= LEAST_BLOOD_MM2:
                deep = f"deeper than {PLAINLY_INSIDE_MM:g} mm inside it, up to {inside_mm.max():.1f} mm"
                found.append(f"{area_mm2:.0f} mm2 of {name} blood pool outlined, {deep}")
        n_pool = int(np.count_nonzero(self.heart.left_pool))
        share = np.count_nonzero(mask & self.heart.left_pool) / n_pool if n_pool else 0.0
        if share > MOST_OF_LEFT_POOL and not found:
            found.append(f"{100 * share:.0f} % of the LV blood pool outlined")
        return found

    def _gaps(self, mask: Mask) -> list[str]:
        heart = self.heart
        pieces, _ = ndimage.label(mask, TOUCHING)
        touching = np.unique(pieces[heart.myocardium | heart.left_pool])
        wall = np.isin(pieces, touching[touching > 0])
        wall &= ~((self.left_depth_mm > 0) & (self.left_depth_mm > 0.5 * self.left_depth_mm.max()))
        missed = ~wall.ravel()[self.directions].any(axis=1)
        found = []
        for first, n in _runs(missed):
            n_deg = n * 360 // N_DIRECTIONS
            if n_deg < LEAST_GAP_DEG:
                continue
            angles_deg = (first + np.arange(n)) * (360.0 / N_DIRECTIONS)
            found.append(f"gap of {n_deg} degrees in {' and '.join(self._segments(angles_deg))}")
        return found

    def _segments(self, angles_deg: np.ndarray) -> list[str]:
        """Segments that a gap lies in; one that it touches by less than a gap is named only if there is no other."""
        directions = [self.heart.segment_at(float(angle)) for angle in angles_deg]
        names = list(dict.fromkeys(directions))
        n_least = LEAST_GAP_DEG * N_DIRECTIONS // 360
        return [name for name in names if directions.count(name) >= n_least] or names


def _directions(centre_px: tuple[float, float], shape: tuple[int, ...]) -> np.ndarray:
    angles = np.arange(N_DIRECTIONS) * (2 * np.pi / N_DIRECTIONS)
    steps = np.arange(0.0, np.hypot(shape[0], shape[1]), STEP_PX)
    rows = np.rint(centre_px[0] + np.outer(np.sin(angles), steps)).astype(np.int64)
    cols = np.rint(centre_px[1] + np.outer(np.cos(angles), steps)).astype(np.int64)
    outside = (rows < 0) | (rows >= shape[0]) | (cols < 0) | (cols >= shape[1])
    start = round(centre_px[0]) * shape[1] + round(centre_px[1])
    return np.where(outside, start, rows * shape[1] + cols)  # a direction that left the image sees nothing new


def _runs(missed: np.ndarray) -> list[tuple[int, int]]:
    """First index and length of every run of True around the circle."""
    if missed.all():
        return [(0, len(missed))]
    starts = np.flatnonzero(missed & ~np.roll(missed, 1))
    ends = np.flatnonzero(missed & ~np.roll(missed, -1))
    lengths = (ends[:, None] - starts[None]) % len(missed) + 1  # from every start to every end, onwards
    return list(zip(starts.tolist(), lengths.min(axis=0).tolist())) if len(starts) else []
