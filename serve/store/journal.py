"""What happened to a study, line by line: for those who watch it, and for whoever asks later what was done when.

A line is one JSON object with its kind as `event`. Lines are appended whole; one that a crash cut in half is skipped.
Nothing depends on the journal: states are in the record.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOURNAL_NAME = "events.jsonl"


@dataclass(frozen=True)
class Event:
    """One line."""

    number: int
    """Position in the journal, from 1."""
    kind: str
    """received, started, answer, done, failed or cancelled."""
    fields: dict[str, Any]
    """The rest of the line."""


def append(folder: Path, kind: str, **fields: Any) -> None:
    """Add a line to a study's journal, not synced; a study that was removed has none any more."""
    line = json.dumps({"event": kind, **fields}) + "\n"
    with suppress(OSError):
        descriptor = os.open(folder / JOURNAL_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def begin_line(folder: Path) -> None:
    """End a line that a crash cut in half, before others are appended to it."""
    with suppress(OSError), (folder / JOURNAL_NAME).open("rb+") as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
            file.write(b"\n")


def read_after(folder: Path, number: int) -> list[Event]:
    """The whole lines after that number, the oldest first."""
    try:
        lines = (folder / JOURNAL_NAME).read_bytes().split(b"\n")[:-1]
    except OSError:
        return []
    events = []
    for position, line in enumerate(lines[number:], start=number + 1):
        with suppress(ValueError, KeyError, TypeError):
            fields = json.loads(line)
            events.append(Event(position, str(fields.pop("event")), fields))
    return events
