"""What is known of every run of a study: a small record on disk that decides what is done next.

    found -> analysed -> stored
         `-> refused

A run is known by the SOP Instance UIDs of its images. Images that come again, or results that come back with them, make
no new run; a run that had one more frame than before does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

from serve.durable import replace_file


class RunState(StrEnum):
    """How far a run is."""

    FOUND = "found"
    ANALYSED = "analysed"
    """Its results lie on disk, whole."""
    STORED = "stored"
    """The PACS has them."""
    REFUSED = "refused"
    """It cannot be analysed; the reason says why."""

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to do."""
        return self in (RunState.STORED, RunState.REFUSED)


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    images: tuple[str, ...]
    """Names of its files in the study's folder of images."""
    role: str
    """`stress`, `rest` or `perfusion`."""
    state: RunState = RunState.FOUND
    n_failures: int = 0
    """Tries since the last success that failed by no fault of the run."""
    next_try_at: float = 0.0
    """Nothing is tried before [s since 1970]."""
    reason: str = ""
    """Last failure, in words."""

    def moved_on(self, state: RunState, reason: str = "") -> RunRecord:
        """The record after a step that came to its end."""
        return replace(self, state=state, reason=reason, n_failures=0, next_try_at=0.0)

    def failed(self, reason: str, now: float, first_s: float, longest_s: float) -> RunRecord:
        """The record after a step that may be tried again: the pause doubles from `first_s` up to `longest_s`."""
        pause_s = min(first_s * 2.0 ** min(self.n_failures, 30), longest_s)
        return replace(self, n_failures=self.n_failures + 1, next_try_at=now + pause_s, reason=reason)


def run_id(instances: Iterable[str]) -> str:
    """Name of a run's folder, from its instances in any order."""
    return hashlib.sha256("\n".join(sorted(set(instances))).encode()).hexdigest()[:32]


def read_run(folder: Path) -> RunRecord:
    """The record that lies in a run's folder."""
    fields = json.loads((folder / "run.json").read_text())
    return RunRecord(**{**fields, "images": tuple(fields["images"]), "state": RunState(fields["state"])})


def write_run(folder: Path, record: RunRecord) -> None:
    """Replace a run's record, synced."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "run.json", json.dumps(asdict(record)).encode(), sync=True)


def run_folders(runs: Path) -> list[Path]:
    """Folders of all runs of a study."""
    return sorted(path for path in runs.iterdir() if (path / "run.json").is_file()) if runs.is_dir() else []
