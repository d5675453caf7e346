"""Which study answers for which upload on which basis, so that the same bytes are not computed twice.

    <store>/.known/<key>   id of the study, see `Basis.with_content`

An entry is written before its study appears: a crash in between leaves one that leads nowhere, which counts as none.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from pathlib import Path

from serve.durable import replace_file
from serve.store.locks import locked


class KnownStudies:
    """The entries of one store.

    Args:
        store: folder of the store.
    """

    def __init__(self, store: Path) -> None:
        self._folder = store / ".known"
        self._folder.mkdir(exist_ok=True)

    def changing(self) -> AbstractContextManager[None]:
        """Keeps every other process from looking up and adding at the same time."""
        return locked(self._folder / ".lock")

    def find(self, key: str) -> str | None:
        """Id of the study that was entered; it may be gone."""
        with suppress(OSError):
            return (self._folder / key).read_text()
        return None

    def enter(self, key: str, study_id: str) -> None:
        """Add or replace an entry, synced."""
        replace_file(self._folder / key, study_id.encode(), sync=True)

    def forget(self, key: str, study_id: str) -> None:
        """Remove an entry if it is of this study."""
        if self.find(key) == study_id:
            (self._folder / key).unlink(missing_ok=True)
