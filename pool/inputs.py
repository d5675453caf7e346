"""Whatever a user points at, as a `PerfusionSeries`: DICOM folder or zip, `.mat`, `.npz`, NIfTI."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pool.errors import (
    EmptyStudyError,
    InconsistentStudyError,
    NonFiniteError,
    UnreadableFileError,
    UnsupportedFileError,
)
from pool.nifti import read_nifti
from pool.series import PerfusionSeries, names_of_slices

if TYPE_CHECKING:
    from pool.dicom.read import DicomStudy

ARRAY_SUFFIXES = (".mat", ".npz", ".nii", ".nii.gz")
MOST_ARRAY_BYTES = 2_000_000_000
"""Uncompressed size above which an `.npz` is refused before it is unpacked."""


@dataclass(frozen=True, eq=False)
class StudyInput:
    """A study as read, with its DICOM headers if it has any."""

    series: PerfusionSeries
    dicom: DicomStudy | None = None
    """Headers to write DICOM results against; None for other inputs."""


def open_study(study: Path | Sequence[Path]) -> StudyInput:
    """Read a study.

    Args:
        study: a folder or zip of DICOM files, a list of DICOM files, or one `.mat` (`final_img`, row col time), `.npz`
            (`frames` slice time row col, `times_s` slice time or time, `pixel_spacing_mm` row col) or NIfTI file.

    Raises:
        StudyError: one sentence on what is wrong, see `pool.errors`.
    """
    paths = [Path(study)] if isinstance(study, str | Path) else [Path(path) for path in study]
    if not paths:
        raise EmptyStudyError(
            "study", "needs at least one file", "none", "Send DICOM files, a zip, .mat, .npz or NIfTI."
        )
    for path in paths:
        if not path.exists():
            raise EmptyStudyError(f"study {path.name}", "must exist", "no such file or folder", "Check the path.")
        if path.is_file() and path.stat().st_size == 0:
            raise EmptyStudyError(f"file {path.name}", "must not be empty", "0 bytes")
    arrays = [path for path in paths if path.is_file() and path.name.lower().endswith(ARRAY_SUFFIXES)]
    if arrays:
        if len(paths) > 1:
            raise UnsupportedFileError(
                "study",
                "is one .mat, .npz or NIfTI file, or DICOM files",
                f"{len(paths)} files",
                "Send them one by one.",
            )
        return StudyInput(read_array_file(arrays[0]))

    from pool.dicom.archive import dicom_files  # these need pydicom; the rest of this module does not
    from pool.dicom.read import read_dicom_study

    if len(paths) > 1:
        dicom = read_dicom_study(paths)
    else:
        with dicom_files(paths[0]) as files:
            dicom = read_dicom_study(files)
    return StudyInput(dicom.series, dicom)


def read_array_file(path: Path) -> PerfusionSeries:
    """Read a `.mat`, `.npz` or NIfTI file; any failure of the library underneath becomes an `UnreadableFileError`."""
    name = path.name.lower()
    reader = _read_mat if name.endswith(".mat") else _read_npz if name.endswith(".npz") else read_nifti
    try:
        return reader(path)
    except NotImplementedError as error:
        raise UnsupportedFileError(
            f"file {path.name}", "must be a MATLAB file up to version 7", "version 7.3", "Save it with -v7."
        ) from error
    except (OSError, ValueError, EOFError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise _unreadable(path) from error
    except Exception as error:
        # zlib.error and nibabel's own errors derive from Exception directly
        if type(error).__module__.split(".")[0] in ("zlib", "nibabel", "scipy"):
            raise _unreadable(path) from error
        raise


def _unreadable(path: Path) -> UnreadableFileError:
    return UnreadableFileError(
        f"file {path.name}", f"must be a whole, readable {path.suffix} file", remedy="Was it cut?"
    )


def _read_mat(path: Path) -> PerfusionSeries:
    from scipy.io import loadmat

    content = loadmat(path, variable_names=["final_img"])
    if "final_img" not in content:
        raise UnsupportedFileError(f"file {path.name}", "needs the variable final_img (128 x 128 x 30)", "none")
    return _from_final_img(path, content["final_img"])


def _from_final_img(path: Path, final_img: Any) -> PerfusionSeries:
    """A slice as published with the DAUGS paper: `row col time`, preprocessed, in [0, 1], without times or spacing."""
    image = np.asarray(final_img)
    if image.ndim != 3 or image.dtype.kind not in "fiu":
        raise InconsistentStudyError(
            f"file {path.name}", "final_img must be numbers of shape row col time", f"{image.dtype} {image.shape}"
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
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(info.file_size for info in archive.infolist())
    if n_bytes > MOST_ARRAY_BYTES:
        raise UnreadableFileError(
            f"file {path.name}", f"must unpack to at most {MOST_ARRAY_BYTES / 1e9:.0f} GB", f"{n_bytes / 1e9:.1f} GB"
        )
    with np.load(path, allow_pickle=False) as content:
        if "final_img" in content:
            return _from_final_img(path, content["final_img"])
        missing = [key for key in ("frames", "times_s", "pixel_spacing_mm") if key not in content]
        if missing:
            raise UnsupportedFileError(
                f"file {path.name}",
                "needs frames, times_s and pixel_spacing_mm (or final_img)",
                f"no {', '.join(missing)}",
            )
        frames, times, spacing = (np.asarray(content[key]) for key in ("frames", "times_s", "pixel_spacing_mm"))
    if any(array.dtype.kind not in "fiu" for array in (frames, times, spacing)):
        raise InconsistentStudyError(f"file {path.name}", "frames, times_s and pixel_spacing_mm must be real numbers")
    frames = frames[None] if frames.ndim == 3 else frames
    if frames.ndim != 4:
        raise InconsistentStudyError(f"file {path.name}", "frames must be slice time row col", f"shape {frames.shape}")
    if not np.isfinite(frames).all():
        raise NonFiniteError(f"file {path.name}", "every pixel must be a finite number", "NaN or infinite values")
    times = np.broadcast_to(times, frames.shape[:2]) if times.ndim == 1 and times.size == frames.shape[1] else times
    if spacing.shape != (2,):
        raise InconsistentStudyError(
            f"file {path.name}", "pixel_spacing_mm must be (between rows, between columns)", f"shape {spacing.shape}"
        )
    return PerfusionSeries(
        np.ascontiguousarray(frames, dtype=np.float32),
        np.ascontiguousarray(times, dtype=np.float64),
        (float(spacing[0]), float(spacing[1])),
        names_of_slices(frames.shape[0]),
    )
