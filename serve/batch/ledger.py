"""What has ended so far, one small file a study: a run that was killed goes on after the last of them."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from serve.batch.rows import FAILED, Row
from serve.durable import replace_file


@dataclass(frozen=True)
class Entry:
    """How a study ended."""

    study: str
    """Its pseudonym."""
    fingerprint: str
    """Of the bytes that were analysed, see `serve.batch.cohort.fingerprint`."""
    rows: tuple[Row, ...]
    """Its rows of the table."""

    @property
    def failure(self) -> str:
        """Why it failed; empty if it did not."""
        return next((str(row["reason"]) for row in self.rows if row["state"] == FAILED), "")


class Ledger:
    """Entries in a folder, written whole and synced; several processes may write at once, of different studies.

    Args:
        folder: made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, entry: Entry) -> None:
        """Note how a study ended: from now on it is not analysed again."""
        path = self._folder / f"{entry.study}.json"
        replace_file(path, (json.dumps(asdict(entry)) + "\n").encode(), sync=True)
        self._attempts_path(entry.study).unlink(missing_ok=True)

    def read(self, study_id: str) -> Entry | None:
        """How a study ended; None if it has not, or if its entry is not readable: it is then analysed again."""
        try:
            fields = json.loads((self._folder / f"{study_id}.json").read_text())
            return Entry(fields["study"], fields["fingerprint"], tuple(fields["rows"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def forget(self, study_id: str) -> None:
        """Have a study analysed again."""
        (self._folder / f"{study_id}.json").unlink(missing_ok=True)

    @contextmanager
    def alone(self, study_id: str) -> Iterator[None]:
        """Keep every other process from working on a study: workers outlive a driver that was killed for a while."""
        with (self._folder / f".{study_id}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def begin(self, study_id: str, run_id: str) -> int:
        """Note that a study is begun; returns how often it was before in this run, without an end.

        More than never means that it took its process down: whatever raises is an end.
        """
        path = self._attempts_path(study_id)
        before = path.read_text().split() if path.exists() else []
        n_before = int(before[1]) if len(before) == 2 and before[0] == run_id else 0
        replace_file(path, f"{run_id} {n_before + 1}".encode(), sync=False)
        return n_before

    def _attempts_path(self, study_id: str) -> Path:
        return self._folder / f".{study_id}.begun"
