"""Which pixels hold blood of the LV and of the RV, and which of them the input function is taken from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.errors import StudyError
from pool.evaluation.true_heart import TrueHeart
from pool.shapes import BLOOD_POOL, MYOCARDIUM, Mask

FEWEST_POOL_PX = 5
"""Pixels that an input function is the mean of, at least."""
RIM_MM = 5.0
"""Left out along the border of the cavity: partial volume, dark rims, trabeculae [mm]."""
PAPILLARY_SHARE = 0.92
"""Enhancement over that of the brightest quarter of the cavity below which a pixel holds muscle."""
OUTER_RIM_MM = 2.0
"""Of the wall, left out of segments' means: fat beside it reaches in through partial volume and truncation [mm]."""
FEWEST_AVERAGED_PX = 8
"""Pixels of a segment that its mean needs; thinner segments keep their rim."""
FARTHEST_RV_MM = 10.0
"""Between LV wall and the nearest pixel of a piece of the RV; what lies farther away is something else [mm]."""


@dataclass(frozen=True, eq=False)
class SliceRegions:
    """Wall and cavities of one slice on the native grid."""

    name: str
    """As in the series."""
    level: str
    """`base`, `mid` or `apex`."""
    myocardium: Mask
    left_pool: Mask
    right_pool: Mask
    """Empty where the RV does not reach the slice or was not outlined."""
    centre_px: tuple[float, float]
    """Centre of the LV: row, col."""

    @classmethod
    def of(cls, name: str, level: str, myocardium: Mask, blood: Mask, spacing_mm: tuple[float, float]) -> SliceRegions:
        """Split a blood pool into LV and RV.

        Raises:
            SettingsError: no myocardium.
        """
        labels = np.where(myocardium, MYOCARDIUM, np.where(blood, BLOOD_POOL, 0))
        heart = TrueHeart.from_labels(labels, level)
        away = ndimage.distance_transform_edt(~(myocardium | heart.left_pool), sampling=spacing_mm)
        pieces, n_pieces = ndimage.label(heart.right_pool, np.ones((3, 3)))
        nearest = np.atleast_1d(ndimage.minimum(away, pieces, range(1, n_pieces + 1))) if n_pieces else np.zeros(0)
        right = np.isin(pieces, 1 + np.flatnonzero(nearest <= FARTHEST_RV_MM))
        return cls(name, level, myocardium, heart.left_pool, right, heart.centre_px)


def inner_pool(pool: Mask, spacing_mm: tuple[float, float]) -> Mask:
    """The cavity without its rim; the rim is thinner where the cavity is small.

    Raises:
        StudyError: a cavity of hardly any pixels.
    """
    depth = ndimage.distance_transform_edt(pool, sampling=spacing_mm)
    for rim in (RIM_MM, 0.6 * RIM_MM, 0.0):
        kept = np.asarray(depth > rim)
        if int(kept.sum()) >= FEWEST_POOL_PX:
            return kept
    raise StudyError(
        "arterial input function",
        f"needs at least {FEWEST_POOL_PX} pixels of LV blood",
        f"{int(pool.sum())}",
        "Outline the LV cavity, or give a series for the input function.",
    )


def without_papillary(frames: np.ndarray, pool: Mask, times_s: np.ndarray, arrival: float) -> Mask:
    """The cavity without pixels that enhance clearly less than its brightest quarter while the bolus comes in.

    Muscle has hardly any agent before the blood's peak, so the upslope tells the two apart better than the peak does.

    Args:
        frames: `time row col`.
        pool: the eroded cavity.
        times_s: `time`.
        arrival: of the bolus in the LV [s].
    """
    curve = frames[:, pool].mean(axis=1)
    low = curve[times_s < arrival].mean()
    end = int(np.flatnonzero(curve >= low + 0.9 * (curve.max() - low))[0]) + 1
    rising = (times_s >= arrival) & (np.arange(len(curve)) <= end)
    rise = frames[rising].mean(axis=0) - frames[times_s < arrival].mean(axis=0)
    smooth = ndimage.gaussian_filter(np.where(pool, rise, 0.0), 0.7) / np.maximum(
        ndimage.gaussian_filter(pool.astype(float), 0.7), 1e-6
    )
    kept = pool & (smooth >= PAPILLARY_SHARE * np.quantile(smooth[pool], 0.75))
    return kept if int(kept.sum()) >= FEWEST_POOL_PX else pool


def averaged_wall(regions: SliceRegions, segment: np.ndarray, spacing_mm: tuple[float, float]) -> Mask:
    """Pixels that segments' curves are means of: the wall without its outer rim.

    A constant signal of fat or lung in the muscle's baseline scales all its concentrations. A segment that would lose
    half of its pixels or more keeps them all.

    Args:
        regions: wall and cavities.
        segment: AHA segment of every pixel, `row col`, 0 outside the wall.
        spacing_mm: between rows, between columns.
    """
    heart = regions.myocardium | regions.left_pool | regions.right_pool
    depth = ndimage.distance_transform_edt(heart, sampling=spacing_mm)
    inner = regions.myocardium & (depth > OUTER_RIM_MM)
    kept = np.zeros_like(inner)
    for number in np.unique(segment[segment > 0]):
        whole = segment == number
        part = whole & inner
        enough = max(FEWEST_AVERAGED_PX, int(0.5 * whole.sum()))
        kept |= part if int(part.sum()) >= enough else whole
    return kept
