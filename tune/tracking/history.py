"""What a journal says about its runs: which there are, which are open, which epochs were logged."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tune.tracking.entries import Entry, RunLogged, RunStarted, RunStatus, RunTagged


class History:
    """The state of all runs of a training after its entries so far.

    Args:
        entries: of the journal, in order.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.statuses: dict[str, str] = {}
        """Status of every run, in the order in which they were started."""
        self.members: set[str] = set()
        """Runs tagged as members."""
        self.epoch_times_ms: dict[tuple[int, int], int] = {}
        """When an epoch of a seed was logged [ms since 1970], by seed and epoch."""
        for entry in entries:
            self.add(entry)

    @property
    def runs(self) -> tuple[str, ...]:
        """All runs."""
        return tuple(self.statuses)

    @property
    def open_runs(self) -> tuple[str, ...]:
        """Runs that have not ended, the parent last, so that it is open as long as any of them."""
        return tuple(run for run, status in reversed(self.statuses.items()) if status == "RUNNING")

    def add(self, entry: Entry) -> None:
        """Take up an entry."""
        if isinstance(entry, RunStarted):
            self.statuses[entry.run] = "RUNNING"
        elif isinstance(entry, RunStatus):
            self.statuses[entry.run] = entry.status
        elif isinstance(entry, RunTagged) and "member" in entry.tags:
            (self.members.add if entry.tags["member"] == "true" else self.members.discard)(entry.run)
        elif isinstance(entry, RunLogged) and (seed := re.fullmatch(r"seed-(\d+)", entry.run)):
            for point in entry.points:
                self.epoch_times_ms[int(seed[1]), point.step] = point.time_ms
