"""Read a study from one file of arrays: `.mat`, `.npz`, NIfTI."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pool.errors import (
    InconsistentStudyError,
    NonFiniteError,
    PoolError,
    UnreadableFileError,
    UnsupportedFileError,
)
from pool.matfile import read_mat_array
from pool.nifti import read_nifti
from pool.npzfile import read_npz_arrays
from pool.series import PerfusionSeries, names_of_slices

NPZ_KEYS = ("frames", "times_s", "pixel_spacing_mm")
"""Arrays that an `.npz` of raw frames has to hold."""
IN_FILE_ORDER = "an .npz holds no positions: its three slices are taken as base, mid, apex in file order"
"""Remark on an `.npz` of three slices."""


def read_array_file(path: Path) -> PerfusionSeries:
    """Read a `.mat`, `.npz` or NIfTI file.

    Raises:
        StudyError: one sentence on what is wrong. Whatever else the libraries underneath raise becomes an
            `UnreadableFileError`; their own messages are left out, as they may quote what is in the file.
    """
    name = path.name.lower()
    reader = _read_mat if name.endswith(".mat") else _read_npz if name.endswith(".npz") else read_nifti
    with whole_file(path):
        return reader(path)


@contextmanager
def whole_file(path: Path) -> Iterator[None]:
    """Inside the block a file of arrays is read; whatever libraries raise of it is said in one sentence.

    Raises:
        PoolError: as it was raised inside.
        UnreadableFileError: anything else.
    """
    try:
        yield
    except PoolError:
        raise
    except PermissionError as error:
        raise forbidden(path) from error
    except Exception as error:
        name = path.name.lower()
        raise UnreadableFileError(
            f"file {path.name}",
            f"must be a whole, readable {''.join(path.suffixes[-2:]) if name.endswith('.gz') else path.suffix} file",
            f"{type(error).__name__} while reading it",
            "Was it cut, changed or encrypted? Save it again.",
        ) from error


def require_real(path: Path, arrays: Mapping[str, np.ndarray], remedy: str) -> None:
    """Refuse arrays that hold anything but real numbers: complex ones, words, dates, truth values.

    Raises:
        InconsistentStudyError: there are some.
    """
    if any(array.dtype.kind not in "fiu" for array in arrays.values()):
        *names, last = arrays
        raise InconsistentStudyError(
            f"file {path.name}",
            f"{', '.join(names)} and {last} must be real numbers",
            ", ".join(str(array.dtype) for array in arrays.values()),
            remedy,
        )


def forbidden(path: Path) -> UnreadableFileError:
    """What is said of a file or folder without permission."""
    kind = "folder" if os.path.isdir(path) else "file"  # Path.is_dir would raise again, below a closed folder
    return UnreadableFileError(
        f"{kind} {path.name}", "must be readable", "permission denied", "Allow reading it, or copy it elsewhere."
    )


def _read_mat(path: Path) -> PerfusionSeries:
    final_img = read_mat_array(path, "final_img")
    if final_img is None:
        raise UnsupportedFileError(
            f"file {path.name}",
            "needs the variable final_img (128 x 128 x 30)",
            "none",
            "Save the prepared slice under this name.",
        )
    return _from_final_img(path, final_img)


def _from_final_img(path: Path, image: np.ndarray) -> PerfusionSeries:
    """A slice as published with the DAUGS paper: `row col time`, preprocessed, in [0, 1], without times or spacing."""
    if image.ndim != 3 or image.dtype.kind not in "fiu":
        raise InconsistentStudyError(
            f"file {path.name}",
            "final_img must be real numbers of shape row col time",
            f"{image.dtype} {image.shape}",
            "Save it as a plain 3D array, 128 x 128 x 30.",
        )
    frames = np.ascontiguousarray(np.moveaxis(image, 2, 0), dtype=np.float32)[None]
    return PerfusionSeries(
        frames,
        np.arange(frames.shape[1], dtype=np.float64)[None],
        pixel_spacing_mm=None,
        slice_names=names_of_slices(1),
        prepared=True,
        remarks=("final_img holds no times and no pixel spacing: frames are numbered, areas are in pixels",),
    )


def _read_npz(path: Path) -> PerfusionSeries:
    content = read_npz_arrays(path, ("final_img", *NPZ_KEYS))
    if "final_img" in content:
        return _from_final_img(path, content["final_img"])
    missing = [key for key in NPZ_KEYS if key not in content]
    if missing:
        raise UnsupportedFileError(
            f"file {path.name}",
            "needs frames, times_s and pixel_spacing_mm (or final_img)",
            f"no {', '.join(missing)}",
            "Save them under these names.",
        )
    frames, times, spacing = (content[key] for key in NPZ_KEYS)
    require_real(path, content, "Save magnitudes as float32.")
    frames = frames[None] if frames.ndim == 3 else frames
    if frames.ndim != 4:
        raise InconsistentStudyError(
            f"file {path.name}",
            "frames must be slice time row col",
            f"shape {frames.shape}",
            "Arrange the axes in this order; a single slice may be time row col.",
        )
    if not np.isfinite(frames).all():
        raise NonFiniteError(
            f"file {path.name}", "every pixel must be a finite number", "NaN or infinite values", "Export it again."
        )
    times = np.broadcast_to(times, frames.shape[:2]) if times.ndim == 1 and times.size == frames.shape[1] else times
    if spacing.shape != (2,):
        raise InconsistentStudyError(
            f"file {path.name}",
            "pixel_spacing_mm must be (between rows, between columns)",
            f"shape {spacing.shape}",
            "Give two numbers in mm.",
        )
    return PerfusionSeries(
        np.ascontiguousarray(frames, dtype=np.float32),
        np.ascontiguousarray(times, dtype=np.float64),
        (float(spacing[0]), float(spacing[1])),
        names_of_slices(frames.shape[0]),
        remarks=(IN_FILE_ORDER,) if frames.shape[0] == 3 else (),
    )
