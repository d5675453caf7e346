"""A drawn mask with its place in the patient, and how it comes onto the slices of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pool.errors import MaskError
from pool.series import PerfusionSeries
from pool.shapes import BACKGROUND, BLOOD_POOL, MYOCARDIUM

PARALLEL_COSINE = 0.999
"""Least cosine between the slices' normal and an axis of the mask: 2.5 degrees, beyond which sampling cuts across."""
_PAINTED = (BLOOD_POOL, MYOCARDIUM)
"""Classes from the first to the last painted: where structures overlap, the wall is what was drawn with more care."""


@dataclass(frozen=True, eq=False)
class MaskVolume:
    """Classes on a regular grid."""

    subject: str
    """The file, in words, for error texts."""
    classes: np.ndarray
    """uint8 `slice row col`, as in the file."""
    to_patient_mm: np.ndarray | None
    """Affine `3 4`: patient position (DICOM's LPS) [mm] of (col, row, slice, 1); None where the file knows no place."""


@dataclass(frozen=True, eq=False)
class LaidMask:
    """A mask on the native grid of a study."""

    classes: np.ndarray
    """uint8 `slice row col`, slices in the order of the series."""
    by_place: bool
    """True where it was laid by positions in the patient, False where by the order of its rows, columns and slices."""


def lay(volumes: Sequence[MaskVolume], series: PerfusionSeries) -> LaidMask:
    """Lay the volumes of one file on a study: by place where both know theirs, else by order.

    By place, every native pixel takes the value of the nearest voxel; beyond the volume it is background. By order,
    rows, columns and slices are those of the study's own file, and their numbers must agree.

    Raises:
        MaskError: another size, another place, or planes that are not parallel to the slices.
    """
    if series.geometry is None or any(volume.to_patient_mm is None for volume in volumes):
        return LaidMask(merged([_in_order(volume, series) for volume in volumes]), by_place=False)
    laid = [_by_place(volume, series) for volume in volumes]
    if not any(inside for _, inside in laid):
        raise MaskError(
            volumes[0].subject,
            "must lie on the slices of its study",
            "another place in the patient",
            "Was it drawn on another series, or moved?",
        )
    return LaidMask(merged([classes for classes, _ in laid]), by_place=True)


def merged(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Several label maps as one: myocardium over blood pool over background."""
    whole = np.full(parts[0].shape, BACKGROUND, dtype=np.uint8)
    for painted in _PAINTED:
        for part in parts:
            whole[part == painted] = painted
    return whole


def _in_order(volume: MaskVolume, series: PerfusionSeries) -> np.ndarray:
    n_slices, _, n_rows, n_cols = series.frames.shape
    if volume.classes.shape != (n_slices, n_rows, n_cols):
        raise MaskError(
            volume.subject,
            f"without a place in the patient it must have the size {(n_slices, n_rows, n_cols)} (slice row col)",
            str(volume.classes.shape),
            "Is it the mask of another study?",
        )
    return series.to_input_grid(volume.classes)  # turning axes back is its own inverse


def _by_place(volume: MaskVolume, series: PerfusionSeries) -> tuple[np.ndarray, bool]:
    """Classes on the native grid, and whether any pixel lies in the volume."""
    affine = volume.to_patient_mm
    assert affine is not None
    assert series.geometry is not None
    assert series.pixel_spacing_mm is not None  # only prepared series lack it, and they know no place
    axes = affine[:, :3] / np.linalg.norm(affine[:, :3], axis=0)
    from_patient = np.linalg.inv(affine[:, :3])
    n_slices, _, n_rows, n_cols = series.frames.shape
    rows, cols = np.meshgrid(np.arange(n_rows), np.arange(n_cols), indexing="ij")
    classes = np.full((n_slices, n_rows, n_cols), BACKGROUND, dtype=np.uint8)
    any_inside = False
    for s, geometry in enumerate(series.geometry):
        if np.abs(geometry.normal @ axes).max() < PARALLEL_COSINE:
            raise MaskError(
                volume.subject,
                "its planes must be parallel to the slices of the study",
                f"{np.degrees(np.arccos(np.abs(geometry.normal @ axes).max())):.0f} degrees between them",
                "Draw on the perfusion series itself.",
            )
        along_row, along_col = np.array(geometry.orientation[:3]), np.array(geometry.orientation[3:])
        first = from_patient @ (np.array(geometry.position_mm) - affine[:, 3])
        per_row = from_patient @ along_col * series.pixel_spacing_mm[0]
        per_col = from_patient @ along_row * series.pixel_spacing_mm[1]
        places = first[:, None, None] + per_row[:, None, None] * rows + per_col[:, None, None] * cols
        nearest = np.floor(places + 0.5 + 1e-6).astype(np.int64)  # the same side of a tie whatever was rounded before
        size = np.array(volume.classes.shape[::-1])[:, None, None]
        inside = ((nearest >= 0) & (nearest < size)).all(axis=0)
        i, j, k = np.where(inside, nearest, 0)
        classes[s] = np.where(inside, volume.classes[k, j, i], BACKGROUND)
        any_inside |= bool(inside.any())
    return classes, any_inside
