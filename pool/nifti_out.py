"""Write masks and maps as NIfTI on the grid of the input, where ITK-SNAP and other viewers lay them on the images."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from pool.series import PerfusionSeries

EVEN_MM = 0.05
"""Slices are equally spaced where no position is farther than this from an even row [mm]."""


def write_nifti_maps(maps: np.ndarray, series: PerfusionSeries, folder: Path, name: str, thickness_mm: float) -> None:
    """Write `NAME.nii.gz`, or `NAME-SLICE.nii.gz` a slice where slices are not equally spaced along their normal.

    A NIfTI file is one regular grid: uneven slices in one file would lie in wrong places. Rows, columns and slices are
    in the order of the input; x is the column, y the row. Nothing is written for a series without a place.

    Args:
        maps: `slice row col` on the native grid, uint8 or float32; NaN becomes 0, as viewers do not know it.
        series: the study.
        folder: exists.
        name: without suffix.
        thickness_mm: step of the third axis where a file holds one slice [mm].
    """
    if series.geometry is None:
        return
    stored = series.to_input_grid(np.nan_to_num(maps, nan=0.0) if maps.dtype.kind == "f" else maps)
    step = slice_step_mm(series)
    if step is not None:
        _write(folder / f"{name}.nii.gz", stored, input_affine_lps(series, 0, step))
        return
    for s, (slice_name, geometry) in enumerate(zip(series.slice_names, series.geometry, strict=True)):
        affine = input_affine_lps(series, s, geometry.normal * thickness_mm)
        _write(folder / f"{name}-{slice_name}.nii.gz", stored[s : s + 1], affine)


def slice_step_mm(series: PerfusionSeries) -> np.ndarray | None:
    """From one slice to the next, a vector in the patient [mm]; None for a single slice or uneven ones."""
    assert series.geometry is not None
    places = np.array([geometry.position_mm for geometry in series.geometry])
    if len(places) < 2:
        return None
    step = (places[-1] - places[0]) / (len(places) - 1)
    even = places[0] + np.arange(len(places))[:, None] * step
    normal = series.geometry[0].normal
    sheared = np.linalg.norm(step - (step @ normal) * normal) > EVEN_MM
    return None if sheared or np.abs(places - even).max() > EVEN_MM else step


def input_affine_lps(series: PerfusionSeries, first_slice: int, step_mm: np.ndarray) -> np.ndarray:
    """Patient position (LPS) [mm] of (col, row, slice, 1) of the input's grid, `4 4`."""
    assert series.geometry is not None
    assert series.pixel_spacing_mm is not None  # only prepared series lack it, and they know no place
    geometry, (n_rows, n_cols) = series.geometry[first_slice], series.frames.shape[2:]
    row_mm, col_mm = series.pixel_spacing_mm
    flip_rows, flip_cols = series.flipped
    affine = np.eye(4)
    affine[:3, 0] = np.array(geometry.orientation[:3]) * col_mm * (-1 if flip_cols else 1)
    affine[:3, 1] = np.array(geometry.orientation[3:]) * row_mm * (-1 if flip_rows else 1)
    affine[:3, 2] = step_mm
    first = (n_rows - 1 if flip_rows else 0, n_cols - 1 if flip_cols else 0)
    affine[:3, 3] = geometry.to_patient_mm(*first, series.pixel_spacing_mm)
    return affine


def _write(path: Path, stored: np.ndarray, affine_lps: np.ndarray) -> None:
    import nibabel

    image = nibabel.Nifti1Image(stored.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"Research use only, not for diagnosis"
    image.set_qform(image.affine, code=1)  # scanner
    image.set_sform(image.affine, code=1)
    with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:  # no clock in the bytes
        packed.write(image.to_bytes())
