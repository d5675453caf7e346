"""A checkpoint that Ray did not write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class LocalFolder:
    """A checkpoint in a folder of this machine, see `tune.assemble.CheckpointFolder`."""

    path: Path

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The folder itself."""
        yield str(self.path)
