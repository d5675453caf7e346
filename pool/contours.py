"""Endo- and epicardial contours of a myocardial mask, on the native grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.preprocess import WayBack
from pool.shapes import Mask


@dataclass(frozen=True, eq=False)
class MyocardialContours:
    """The outline of the myocardium as closed polygons `point 2` of native (row, col), first point not repeated."""

    epi_px: np.ndarray
    """Epicardial contour: the outer border of the largest connected piece of the mask."""
    endo_px: np.ndarray | None
    """Endocardial contour: the border of the cavity that the mask encloses; None where it encloses none."""
    n_pieces: int
    """Connected pieces of the mask; more than one means a noncontiguous outline."""

    @property
    def closed_ring(self) -> bool:
        """Whether the outline is one ring around one cavity, as an LV wall must be; False marks a failed outline."""
        return self.endo_px is not None and self.n_pieces == 1


def outline(mask: Mask, way_back: WayBack) -> MyocardialContours | None:
    """Contours of a prepared mask, in native pixels; None for an empty mask.

    Pieces touch by edges or corners. Polygons run through the borders of pixels (marching squares at half height), so
    a one-pixel mask has a polygon of four points half a pixel from its centre.
    """
    labelled, n_pieces = ndimage.label(mask, np.ones((3, 3)))
    if n_pieces == 0:
        return None
    sizes = np.bincount(labelled.ravel())[1:]
    largest = labelled == int(sizes.argmax()) + 1
    filled = ndimage.binary_fill_holes(largest)
    cavity = _longest_polygon(filled & ~largest)
    epi = _longest_polygon(filled)
    assert epi is not None  # `largest` has at least one pixel
    return MyocardialContours(
        way_back.to_native_points(epi), None if cavity is None else way_back.to_native_points(cavity), n_pieces
    )


def _longest_polygon(region: Mask) -> np.ndarray | None:
    import contourpy  # not at the top: bare GPU images do not have it

    padded = np.pad(region.astype(np.float64), 1)  # so that polygons close at the image's border
    lines = [np.asarray(line) for line in contourpy.contour_generator(z=padded).lines(0.5)]
    if not lines:
        return None
    longest = max(lines, key=len)
    return longest[:-1, ::-1] - 1.0  # (x, y) of the padded image -> (row, col)
