"""Whatever a user points at, as an `AslSeries`: `.npz`, DICOM folder or zip; or as what it is, ASL or a first pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pool.array_files import read_array_file
from pool.asl.series import AslSeries
from pool.inputs import StudyInput, array_file, checked_paths, dicom_files_of
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
        study: a folder or zip of DICOM files, a list of DICOM files, or one `.npz` with the arrays
            `pool.asl.series.ARRAYS`.
        choice: which run of a DICOM study, and what its headers do not say; an `.npz` holds one run.

    Raises:
        StudyError: one sentence on what is wrong, see `pool.errors`.
    """
    with checked_paths(study) as paths:
        array = array_file(paths, choice)
        if array is not None:
            return AslInput(AslSeries.load(array))

        from pool.dicom.asl.read import asl_study_of  # these need pydicom; the rest of this module does not
        from pool.dicom.read import chosen_records

        choice = choice or RunChoice()
        with dicom_files_of(paths) as files:
            return AslInput(*asl_study_of(*chosen_records(files, choice), choice))


def open_any_study(study: Path | Sequence[Path], choice: RunChoice | None = None) -> StudyInput | AslInput:
    """Read a study as what it is: ASL or a first pass.

    An `.npz` is ASL if it has arrays of control and labelled images, and refused if it has frames of a first pass too;
    DICOM files are ASL if they hold images of it and no first pass, or if the choice names what only ASL has. Headers
    are read once.

    Args:
        study: as `open_asl_study` or `pool.inputs.open_study`.
        choice: as `pool.inputs.open_study`.

    Raises:
        StudyError: one sentence on what is wrong, see `pool.errors`.
    """
    with checked_paths(study) as paths:
        array = array_file(paths, choice)
        if array is not None:
            held = held_arrays(array) if array.suffix.lower() == ".npz" else set()
            is_asl = "control" in held and not held.isdisjoint(("labelled", "frames"))  # with frames it is refused
            return AslInput(AslSeries.load(array)) if is_asl else StudyInput(read_array_file(array))

        from pool.dicom.asl.kinds import holds_asl  # these need pydicom; the rest of this module does not
        from pool.dicom.asl.read import asl_study_of
        from pool.dicom.read import chosen_records, study_of

        choice = choice or RunChoice()
        with dicom_files_of(paths) as files:
            records, remarks = chosen_records(files, choice)
            if holds_asl(records, choice):
                return AslInput(*asl_study_of(records, remarks, choice))
            dicom = study_of(records, remarks, choice)
            return StudyInput(dicom.series, dicom)
