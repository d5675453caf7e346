"""Whatever a user points at, as an `AslSeries`: `.npz`, DICOM folder or zip; or as what it is, ASL or a first pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pool.asl.series import AslSeries
from pool.inputs import StudyInput, array_file, checked_paths, open_study, read_array_file
from pool.npzfile import held_arrays
from pool.run_choice import RunChoice

if TYPE_CHECKING:
    from pool.dicom.asl.read import AslDicom


@dataclass(frozen=True, eq=False)
class AslInput:
    """An ASL study as read, with its DICOM headers if it has any."""

    series: AslSeries
    dicom: AslDicom | None = None
    """Identity, geometry and sources to write DICOM results against; None for other inputs."""


def open_asl_study(study: Path | Sequence[Path], choice: RunChoice | None = None) -> AslInput:
    """Read an ASL study.

    Args:
        study: an `.npz` with the arrays `pool.asl.series.ARRAYS`.
        choice: an `.npz` holds one run, and nothing to choose from.

    Raises:
        StudyError: one sentence on what is wrong, see `pool.errors`.
    """
    with checked_paths(study) as paths:
        return AslInput(AslSeries.load(array_file(paths, choice) or paths[0]))


def open_any_study(study: Path | Sequence[Path], choice: RunChoice | None = None) -> StudyInput | AslInput:
    """Read a study as what it is: ASL where it holds control and labelled images, else a first pass.

    Args:
        study: as `open_asl_study` or `pool.inputs.open_study`.
        choice: as `pool.inputs.open_study`.

    Raises:
        StudyError: one sentence on what is wrong, see `pool.errors`.
    """
    with checked_paths(study) as paths:
        array = array_file(paths, choice)
        if array is not None:
            is_asl = array.suffix == ".npz" and held_arrays(array) >= {"control", "labelled"}
            return AslInput(AslSeries.load(array)) if is_asl else StudyInput(read_array_file(array))
        return open_study(study, choice)
