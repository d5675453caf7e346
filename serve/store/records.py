"""What the service knows of a study: its state and its progress, nothing of the patient."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from serve.durable import replace_file
from serve.errors import UnknownStudyError
from serve.store.basis import Basis


class StudyState(StrEnum):
    """Where a study is: received -> running -> done or failed; cancelled from either of the first two."""

    RECEIVED = "received"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True where nothing more will happen."""
        return self in (StudyState.DONE, StudyState.FAILED, StudyState.CANCELLED)


@dataclass(frozen=True)
class StudyRecord:
    """What the store knows of a study."""

    id: str
    """Random, 128 bits in hexadecimal."""
    state: StudyState
    created_at: str
    """Moment of acceptance, ISO 8601, UTC."""
    n_sweeps: int
    """Slices x members: the work in total."""
    n_sweeps_done: int = 0
    """Sweeps answered so far, failures included; in a race, which share of `n_sweeps` its patch passes have come to."""
    n_attempts: int = 0
    """How often work on it was begun; more than once only after a restart."""
    reason: str = ""
    """Why it failed; empty otherwise."""
    results: tuple[str, ...] = ()
    """Names of its result files, once done."""
    content_sha256: str = ""
    """Hash of the uploaded bytes; never shown to anybody."""
    pool_sha256: str = ""
    """Pool it is analysed with."""
    settings_sha256: str = ""
    """Settings it is analysed with."""
    n_absent: int = 0
    """Sweeps without an answer, once done: more than 0 only where `least_members` allows it."""

    @property
    def basis(self) -> Basis:
        """Pool and settings."""
        return Basis(self.pool_sha256, self.settings_sha256)

    @property
    def answers_again(self) -> bool:
        """Whether it stands for the same bytes sent again: neither failed nor cancelled, and no member was absent."""
        return self.state not in (StudyState.FAILED, StudyState.CANCELLED) and not self.n_absent


def read_record(folder: Path) -> StudyRecord:
    """The record in a study's folder.

    Raises:
        UnknownStudyError: there is none.
    """
    try:
        fields = json.loads((folder / "study.json").read_text())
    except OSError as error:
        raise UnknownStudyError("study", "must be one that this service accepted", "no record of it") from error
    return StudyRecord(**{**fields, "state": StudyState(fields["state"]), "results": tuple(fields["results"])})


def write_record(folder: Path, record: StudyRecord) -> None:
    """Put the record into a study's folder, whole and synced."""
    replace_file(folder / "study.json", json.dumps(asdict(record)).encode(), sync=True)
