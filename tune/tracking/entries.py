"""What is written to MLflow, as values: each can be stored in the journal, sent later and sent twice without harm."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from tune.errors import JournalError


@dataclass(frozen=True)
class Point:
    """A value of a metric."""

    name: str
    value: float
    step: int
    """Epoch, from 1; 0 where there are no epochs."""
    time_ms: int
    """When it was measured, not when it is sent [ms since 1970]."""


@dataclass(frozen=True)
class RunStarted:
    """A run that exists from now on."""

    run: str
    """Name of the run inside this training, such as `pool`, `seed-1`, `s1-e04`."""
    title: str
    """Its name in MLflow."""
    time_ms: int
    tags: dict[str, str] = field(default_factory=dict)
    parent: str = ""
    """The run that it belongs under; empty for the parent itself."""


@dataclass(frozen=True)
class RunLogged:
    """Parameters and points of a run."""

    run: str
    params: dict[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()


@dataclass(frozen=True)
class RunTagged:
    """Tags of a run; None removes one."""

    run: str
    tags: dict[str, str | None]


@dataclass(frozen=True)
class RunStatus:
    """A run that ended (`FINISHED`, `FAILED`) or goes on (`RUNNING`)."""

    run: str
    status: str
    time_ms: int


@dataclass(frozen=True)
class FileLogged:
    """A file of a run."""

    run: str
    file: str
    """Its path inside the journal's folder of files."""
    folder: str
    """Where it lies among the run's artefacts."""


@dataclass(frozen=True)
class PoolRegistered:
    """The pool as a version of a registered model, with an alias."""

    run: str
    files: tuple[str, ...]
    """Manifest and weights: paths inside the journal's folder of files."""
    name: str
    alias: str


Entry = RunStarted | RunLogged | RunTagged | RunStatus | FileLogged | PoolRegistered
_KINDS: dict[str, type[Entry]] = {
    kind.__name__: kind for kind in (RunStarted, RunLogged, RunTagged, RunStatus, FileLogged, PoolRegistered)
}


def to_fields(entry: Entry) -> dict[str, Any]:
    """The entry as JSON-ready fields."""
    return {"kind": type(entry).__name__, **asdict(entry)}


def from_fields(fields: dict[str, Any]) -> Entry:
    """The entry from JSON fields.

    Raises:
        JournalError: an unknown kind, or fields that are missing or unknown.
    """
    values = dict(fields)
    try:
        kind = _KINDS[values.pop("kind")]
        if "points" in values:
            values["points"] = tuple(Point(**point) for point in values["points"])
        if "files" in values:
            values["files"] = tuple(values["files"])
        return kind(**values)
    except (KeyError, TypeError) as error:
        raise JournalError("MLflow log", "has an entry with missing or unknown fields", str(error)) from error
