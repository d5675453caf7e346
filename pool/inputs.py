"""Whatever a user points at, as a `PerfusionSeries`: DICOM folder or zip, `.mat`, `.npz`, NIfTI."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pool.array_files import forbidden, read_array_file
from pool.errors import EmptyStudyError, UnsupportedFileError
from pool.run_choice import RunChoice
from pool.series import PerfusionSeries

if TYPE_CHECKING:
    from pool.dicom.read import DicomStudy

ARRAY_SUFFIXES = (".mat", ".npz", ".nii", ".nii.gz")
"""Ends of names of files that hold arrays."""


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
        raise forbidden(Path(error.filename or paths[0])) from error


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
