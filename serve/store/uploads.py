"""Files on their way into the study store."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from serve.store.durable import sync_to_disk
from serve.store.records import StudyRecord, StudyState, write_record

_SUFFIXES = (".nii.gz", ".nii", ".mat", ".npz", ".zip", ".dcm")
_CHUNK_BYTES = 2**20


class Upload:
    """Files on their way into the store.

    Args:
        staging: a new folder of this upload alone.
        store: the folder that it is renamed into.
    """

    def __init__(self, staging: Path, store: Path) -> None:
        self._staging, self._store, self._n_files = staging, store, 0
        (staging / "upload").mkdir(parents=True)

    @property
    def files(self) -> list[Path]:
        """What was added so far, in order."""
        return sorted((self._staging / "upload").iterdir())

    def add(self, source: BinaryIO, sent_name: str) -> int:
        """Copy one file to disk, synced; returns its size in bytes.

        Args:
            source: its bytes.
            sent_name: the sender's name for it, of which only a known suffix is used.
        """
        suffix = next((known for known in _SUFFIXES if sent_name.lower().endswith(known)), "")
        path = self._staging / "upload" / f"{self._n_files:06d}{suffix}"
        self._n_files += 1
        with path.open("xb") as sink:
            shutil.copyfileobj(source, sink, _CHUNK_BYTES)
            sink.flush()
            os.fsync(sink.fileno())
            return sink.tell()

    def commit(self, n_sweeps: int) -> StudyRecord:
        """Make a study of it, whole and synced; the folder appears under its id by one rename."""
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = StudyRecord(self._staging.name, StudyState.RECEIVED, created, n_sweeps)
        sync_to_disk(self._staging / "upload")
        write_record(self._staging, record)
        self._staging.rename(self._store / record.id)
        sync_to_disk(self._store)
        return record

    def discard(self) -> None:
        """Remove what was not committed."""
        shutil.rmtree(self._staging, ignore_errors=True)
