"""Endo- and epicardial contours of a myocardial mask, on the native grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.preprocess import WayBack
from pool.shapes import Map
from pool.strays import TOUCHING
from pool.sweep import MASK_THRESHOLD


@dataclass(frozen=True, eq=False)
class MyocardialContours:
    """The outline of the myocardium as closed polygons `point 2` of native (row, col), first point not repeated."""

    epi_px: np.ndarray
    """Epicardial contour: the outer border of the largest connected piece."""
    endo_px: np.ndarray | None
    """Endocardial contour: the border of the largest cavity that it encloses; None where it encloses none."""
    n_pieces: int
    """Connected pieces of the mask; all but the largest are strays."""

    @property
    def closed_ring(self) -> bool:
        """Whether the largest piece is a ring around a cavity, as an LV wall must be; False marks a failed outline."""
        return self.endo_px is not None


def outline(probability: Map, way_back: WayBack) -> MyocardialContours | None:
    """Contours where the myocardial probability crosses 0.5, in native pixels; None where it reaches it nowhere.

    Pieces of `probability >= 0.5` touch by edges or corners; only the largest is outlined. Polygons are level lines of
    the probability (marching squares), so they are finer than pixels.
    """
    mask = probability >= MASK_THRESHOLD
    labelled, n_pieces = ndimage.label(mask, TOUCHING)
    if n_pieces == 0:
        return None
    largest = labelled == int(np.bincount(labelled.ravel())[1:].argmax()) + 1
    filled = ndimage.binary_fill_holes(largest)
    holes, n_holes = ndimage.label(filled & ~largest)
    outside_others = ndimage.binary_dilation(largest, TOUCHING) & ~(mask & ~largest)
    epi = _longest_level_line(np.where(filled & ~largest, 1.0, np.where(outside_others, probability, 0.0)))
    assert epi is not None  # `largest` has at least one pixel
    endo = None
    if n_holes:
        cavity = holes == int(np.bincount(holes.ravel())[1:].argmax()) + 1
        near_cavity = ndimage.binary_dilation(cavity, TOUCHING)
        endo = _longest_level_line(np.where(near_cavity, 1.0 - probability, 0.0))
    return MyocardialContours(
        way_back.to_native_points(epi), None if endo is None else way_back.to_native_points(endo), n_pieces
    )


def _longest_level_line(field: np.ndarray) -> np.ndarray | None:
    import contourpy  # not at the top: bare GPU images do not have it

    padded = np.pad(field.astype(np.float64), 1)  # so that lines close at the image's border
    lines = [np.asarray(line) for line in contourpy.contour_generator(z=padded).lines(MASK_THRESHOLD)]
    if not lines:
        return None
    longest = max(lines, key=len)
    return longest[:-1, ::-1] - 1.0  # (x, y) of the padded image -> (row, col)
