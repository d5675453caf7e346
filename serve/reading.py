"""Uploads are opened in a child process with limits, see `pool.guarded`; what comes back is numbers and plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pool.guarded import ReadingLimits, open_study_guarded
from pool.inputs import StudyInput
from pool.preprocess import PreparedSlice, PreprocessSettings, prepare
from pool.results import check_study_output


class Reader(Protocol):
    """Opens uploads."""

    def read(
        self, files: Sequence[Path], settings: PreprocessSettings, scratch: Path
    ) -> tuple[StudyInput, tuple[PreparedSlice, ...]]:
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

    def read(
        self, files: Sequence[Path], settings: PreprocessSettings, scratch: Path
    ) -> tuple[StudyInput, tuple[PreparedSlice, ...]]:
        """See `Reader.read`."""
        study = open_study_guarded(files[0] if len(files) == 1 else files, limits=self._limits, scratch=scratch)
        check_study_output(study.dicom)
        return study, prepare(study.series, settings)
