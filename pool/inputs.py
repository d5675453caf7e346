"""Whatever a user points at, as a `PerfusionSeries`: DICOM folder or zip, `.mat`, `.npz`, NIfTI."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pool.errors import (
    EmptyStudyError,
    InconsistentStudyError,
    NonFiniteError,
    PoolError,
    UnreadableFileError,
    UnsupportedFileError,
)
from pool.matfile import read_mat_array
from pool.nifti import read_nifti
from pool.npzfile import read_npz_arrays
from pool.run_choice import RunChoice
from pool.series import PerfusionSeries, names_of_slices

if TYPE_CHECKING:
    from pool.dicom.read import DicomStudy

ARRAY_SUFFIXES = (".mat", ".npz", ".nii", ".nii.gz")
NPZ_KEYS = ("frames", "times_s", "pixel_spacing_mm")
"""Arrays that an `.npz` of raw frames has to hold."""
IN_FILE_ORDER = "an .npz holds no positions: its three slices are taken as base, mid, apex in file order"
"""Remark on an `.npz` of three slices."""


@dataclass(frozen=True, eq=False)
class StudyInput:
    """A study as read, with its DICOM headers if it has any."""

    series: PerfusionSeries
    dicom: DicomStudy | None = None
    """Headers to write DICOM results against; None for other inputs."""


def open_study(study: Path | Sequence[Path], choice: RunChoice | None = None) -> StudyInput:
    """Read a study.

    Args:
        study: a folder or zip of DICOM files, a list of DICOM files, or one `.mat` (`final_img`, row col time), `.npz`
            (`frames` slice time row col, `times_s` slice time or time, `pixel_spacing_mm` row col) or NIfTI file.
        choice: which run of a DICOM study, and what its headers do not say; array files hold one run.

    Raises:
        StudyError: one sentence on what is wrong, see `pool.errors`.
    """
    with checked_paths(study) as paths:
        array = array_file(paths, choice)
        if array is not None:
            return StudyInput(read_array_file(array))

        from pool.dicom.read import read_dicom_study  # needs pydicom; the rest of this module does not

        with dicom_files_of(paths) as files:
            dicom = read_dicom_study(files, choice)
        return StudyInput(dicom.series, dicom)


@contextmanager
def checked_paths(study: Path | Sequence[Path]) -> Iterator[list[Path]]:
    """The paths of a study, each there and not empty; what may not be read inside the block is refused in words too.

    Raises:
        EmptyStudyError: no path, or one with nothing at it.
        UnreadableFileError: a file or folder without permission.
    """
    paths = [Path(study)] if isinstance(study, str | Path) else [Path(path) for path in study]
    try:
        _refuse_nothing(paths)
        yield paths
    except PermissionError as error:
        raise _forbidden(Path(error.filename or paths[0])) from error


def _refuse_nothing(paths: Sequence[Path]) -> None:
    if not paths:
        raise EmptyStudyError(
            "study", "needs at least one file", "none", "Send DICOM files, a zip, .mat, .npz or NIfTI."
        )
    for path in paths:
        if not path.exists():
            raise EmptyStudyError(f"study {path.name}", "must exist", "no such file or folder", "Check the path.")
        # of several files the DICOM reader decides: an empty note beside the images does no harm
        single = len(paths) == 1 or path.name.lower().endswith(ARRAY_SUFFIXES)
        if single and path.is_file() and path.stat().st_size == 0:
            raise EmptyStudyError(
                f"file {path.name}", "must not be empty", "0 bytes", "Was the copy cut? Copy or export it again."
            )


def array_file(paths: Sequence[Path], choice: RunChoice | None) -> Path | None:
    """The one file that holds arrays; None for DICOM.

    Raises:
        UnsupportedFileError: one of several files, or a choice, which only DICOM files leave.
    """
    arrays = [path for path in paths if path.is_file() and path.name.lower().endswith(ARRAY_SUFFIXES)]
    if not arrays:
        return None
    if len(paths) > 1:
        raise UnsupportedFileError(
            "study",
            "is one .mat, .npz or NIfTI file, or DICOM files",
            f"{len(paths)} files",
            "Send them one by one.",
        )
    if choice is not None and choice != RunChoice():
        raise UnsupportedFileError(
            f"file {arrays[0].name}", "holds one run, and nothing to choose from", "a choice", "Leave it out."
        )
    return arrays[0]


@contextmanager
def dicom_files_of(paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
    """The files of a DICOM study: those given, or those of one folder or zip, for as long as the block lasts.

    Raises:
        StudyError: as `pool.dicom.archive.dicom_files`.
    """
    from pool.dicom.archive import dicom_files  # needs pydicom; the rest of this module does not

    if len(paths) > 1:
        yield paths
    else:
        with dicom_files(paths[0]) as files:
            yield files


def read_array_file(path: Path) -> PerfusionSeries:
    """Read a `.mat`, `.npz` or NIfTI file.

    Raises:
        StudyError: one sentence on what is wrong. Whatever else the libraries underneath raise becomes an
            `UnreadableFileError`; their own messages are left out, as they may quote what is in the file.
    """
    name = path.name.lower()
    reader = _read_mat if name.endswith(".mat") else _read_npz if name.endswith(".npz") else read_nifti
    try:
        return reader(path)
    except PoolError:
        raise
    except PermissionError as error:
        raise _forbidden(path) from error
    except Exception as error:
        raise UnreadableFileError(
            f"file {path.name}",
            f"must be a whole, readable {''.join(path.suffixes[-2:]) if name.endswith('.gz') else path.suffix} file",
            f"{type(error).__name__} while reading it",
            "Was it cut, changed or encrypted? Save it again.",
        ) from error


def _forbidden(path: Path) -> UnreadableFileError:
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
    if any(array.dtype.kind not in "fiu" for array in (frames, times, spacing)):
        raise InconsistentStudyError(
            f"file {path.name}",
            "frames, times_s and pixel_spacing_mm must be real numbers",
            ", ".join(str(array.dtype) for array in (frames, times, spacing)),
            "Save magnitudes as float32.",
        )
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
