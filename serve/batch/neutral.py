"""A study's files under numbers, so that no error, log or object can repeat a name that holds a patient's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool.dicom.archive import find_dicom_files, numbered_name
from pool.errors import PoolError
from pool.guarded import ReadingLimits, open_study_guarded
from pool.inputs import StudyInput
from serve.batch.cohort import STUDY_SUFFIXES

LIMITS = ReadingLimits(seconds=900.0)
"""Of reading one study: volumes that a whole cluster reads from may be slow."""


def open_neutrally(study: Path) -> StudyInput:
    """`pool.guarded.open_study_guarded`, with names of ours in every error.

    One file in thousands that makes its reader crash, hang or ask for gigabytes is one row with a reason.

    Raises:
        StudyError: it cannot be read.
    """
    with _neutral_names(study) as files:
        return open_study_guarded(files[0] if len(files) == 1 else files, limits=LIMITS)


@contextmanager
def _neutral_names(study: Path) -> Iterator[list[Path]]:
    """Links to the study's files, in the order in which the reader would take them, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="study-") as folder:
        links = []
        for number, file in enumerate(_files(study)):
            suffix = next((known for known in STUDY_SUFFIXES if file.name.lower().endswith(known)), None)
            numbered = numbered_name(number, file.name)
            link = Path(folder) / (numbered if suffix is None else f"{number:05d}{suffix}")
            link.parent.mkdir(exist_ok=True)
            link.symlink_to(file.resolve())
            links.append(link)
        yield links


def _files(study: Path) -> list[Path]:
    if study.is_file():
        return [study]
    try:
        return find_dicom_files(study)
    except PoolError as error:  # its subject may be a folder's name
        raise type(error)("study", error.rule, error.found, error.remedy) from None
