"""Read a 4D NIfTI file, shown as radiologists see it: rows run down the patient, columns to the patient's left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pool.errors import InconsistentStudyError, UnsupportedFileError
from pool.limits import refuse_large
from pool.series import (
    UNCLEAR_ORDER,
    PerfusionSeries,
    SliceGeometry,
    base_is_first,
    names_of_slices,
    order_is_clear,
)

SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


def read_nifti(path: Path) -> PerfusionSeries:
    """Read a NIfTI-1 or -2 file of shape `x y slice time`.

    Row is y and column is x of the file. Converters often store them mirrored; the affine says so, and a mirrored
    heart is not what the networks know. Mirrored axes are turned back here and recorded in `flipped`, so that maps can
    be returned on the grid of the input.

    Raises:
        UnreadableFileError: a header that announces more than `pool.limits.MOST_ARRAY_BYTES`.
        InconsistentStudyError: another number of dimensions, no time step, or an affine that is no place in space.
        UnsupportedFileError: no affine that says where the slices lie; orientation is never guessed.
    """
    import nibabel

    image: Any = nibabel.load(path)  # nibabel types the base class only
    if len(image.shape) != 4:
        raise InconsistentStudyError(
            f"file {path.name}",
            "must be 4D: x y slice time",
            f"shape {tuple(int(n) for n in image.shape)}",
            "Send the whole dynamic series in one file.",
        )
    header = image.header
    refuse_large(path.name, image.shape, header.get_data_dtype().itemsize)
    if int(header["qform_code"]) == 0 and int(header["sform_code"]) == 0:
        raise UnsupportedFileError(
            f"file {path.name}", "needs a qform or sform", "neither", "Convert it again, with the orientation kept."
        )
    step = float(header.get_zooms()[3])
    unit = header.get_xyzt_units()[1]
    if not step > 0 or unit not in SECONDS_PER_UNIT:
        raise InconsistentStudyError(
            f"file {path.name}",
            "needs the time from frame to frame in its header",
            f"{step:g} in units of {unit!r}",
            "Set pixdim[4] and xyzt_units, or send an .npz with times_s.",
        )
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ image.affine[:3]  # NIfTI's world is RAS
    spacing = (float(np.linalg.norm(to_lps[:, 1])), float(np.linalg.norm(to_lps[:, 0])))
    if not np.isfinite(to_lps).all() or not min(spacing) > 0:
        raise InconsistentStudyError(
            f"file {path.name}",
            "the qform or sform must be finite and have a positive pixel spacing",
            f"{spacing[0]:g} x {spacing[1]:g} mm between rows and columns",
            "Convert it again, with the orientation kept.",
        )
    voxels = np.asarray(image.dataobj, dtype=np.float32)  # x y slice time
    frames = np.transpose(voxels, (2, 3, 1, 0))
    along_row, along_col = to_lps[:, 0] / spacing[1], to_lps[:, 1] / spacing[0]
    flip_cols, flip_rows = _points_backward(along_row, (0, 1)), _points_backward(along_col, (2, 1))
    n_rows, n_cols = frames.shape[2:]
    first = np.array([n_cols - 1 if flip_cols else 0, n_rows - 1 if flip_rows else 0])
    frames = frames[:, :, :: -1 if flip_rows else 1, :: -1 if flip_cols else 1]
    orientation = tuple(
        float(v) for v in np.concatenate([along_row * (-1) ** flip_cols, along_col * (-1) ** flip_rows])
    )
    geometry = tuple(
        SliceGeometry(tuple(float(v) for v in to_lps @ np.array([*first, k, 1.0])), orientation)  # type: ignore[arg-type]
        for k in range(frames.shape[0])
    )
    names = names_of_slices(frames.shape[0])
    remarks = ["NIfTI holds one time step: frames are taken as equally spaced"]
    if len(geometry) > 1 and not order_is_clear(geometry[0]):
        remarks.append(UNCLEAR_ORDER)
    times = np.arange(frames.shape[1], dtype=np.float64) * step * SECONDS_PER_UNIT[unit]
    return PerfusionSeries(
        np.ascontiguousarray(frames),
        np.tile(times, (frames.shape[0], 1)),
        spacing,
        names if base_is_first(geometry) else names[::-1],
        geometry,
        remarks=tuple(remarks),
        flipped=(flip_rows, flip_cols),
    )


def _points_backward(direction_lps: np.ndarray, axes: tuple[int, int]) -> bool:
    """Whether a direction must be turned to be shown as usual.

    Columns should rise to the patient's left (+x of LPS), rows to the feet (-z); where the direction is nearly
    perpendicular to that, towards the back (+y).
    """
    main, other = axes
    sign = -1.0 if main == 2 else 1.0
    value = sign * direction_lps[main] if abs(direction_lps[main]) >= 0.3 else direction_lps[other]
    return bool(value < 0)
