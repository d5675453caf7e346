"""Uploads are opened in a child process with limits, see `pool.guarded`; what comes back is numbers and plain text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pool.asl.analysis import mean_control
from pool.asl.inputs import AslInput
from pool.dicom.asl.objects import check_asl_objects
from pool.errors import UnsupportedFileError
from pool.guarded import ReadingLimits, open_any_guarded
from pool.inputs import StudyInput
from pool.manifest import PoolManifest
from pool.preprocess import PreparedSlice, PreprocessSettings, prepare
from pool.results import check_study_output


@dataclass(frozen=True, eq=False)
class PerfusionUpload:
    """A first pass, for members that sweep patches."""

    study: StudyInput
    prepared: tuple[PreparedSlice, ...]

    def n_sweeps(self, manifest: PoolManifest) -> int:
        """The work in total: slices x members of patches.

        Raises:
            UnsupportedFileError: the pool has none.
        """
        if not manifest.of_patches:
            raise UnsupportedFileError(
                "study",
                f"must be an ASL study for pool {manifest.name}, whose members all make trials",
                "a perfusion series",
                "Send it to a service with a pool of patches.",
            )
        return len(self.prepared) * len(manifest.of_patches)


@dataclass(frozen=True, eq=False)
class AslUpload:
    """An ASL study, for members of trials.

    Raises:
        InconsistentStudyError, NonFiniteError: an image that shows nothing.
    """

    study: AslInput

    def __post_init__(self) -> None:
        mean_control(self.study.series.control)  # refuses an image that shows nothing

    def n_sweeps(self, manifest: PoolManifest) -> int:
        """The work in total: one image x members of trials.

        Raises:
            UnsupportedFileError: the pool has none.
        """
        if not manifest.of_trials:
            raise UnsupportedFileError(
                "study",
                f"must be a perfusion series for pool {manifest.name}, whose members all sweep patches",
                "an ASL study",
                "Send it to a service with a pool that holds members of trials.",
            )
        return len(manifest.of_trials)


Upload = PerfusionUpload | AslUpload


def prepared_upload(study: StudyInput | AslInput, settings: PreprocessSettings) -> Upload:
    """What was read, as far as it is made ready before members are asked.

    Args:
        study: as it was read.
        settings: how slices are prepared.

    Raises:
        StudyError: the study cannot be analysed.
        OutputError: its headers allow no results.
    """
    if isinstance(study, AslInput):
        if study.dicom is not None:
            check_asl_objects(study.dicom)
        return AslUpload(study)
    check_study_output(study.dicom)
    return PerfusionUpload(study, prepare(study.series, settings))


class Reader(Protocol):
    """Opens uploads."""

    def read(self, files: Sequence[Path], settings: PreprocessSettings, scratch: Path) -> Upload:
        """Read and prepare the files of an upload: the same for its first check and for the work on it.

        Args:
            files: of the upload.
            settings: how slices are prepared.
            scratch: a folder for what is unpacked; whoever made it removes it.

        Raises:
            StudyError: the study cannot be analysed, or takes more than the limits.
            OutputError: its headers allow no results.
        """
        ...


class GuardedReader:
    """The reader of the service.

    Args:
        limits: of every child.
    """

    def __init__(self, limits: ReadingLimits) -> None:
        self._limits = limits

    def read(self, files: Sequence[Path], settings: PreprocessSettings, scratch: Path) -> Upload:
        """See `Reader.read`."""
        study = open_any_guarded(files[0] if len(files) == 1 else files, limits=self._limits, scratch=scratch)
        return prepared_upload(study, settings)
