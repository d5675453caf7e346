"""Files on their way into the study store."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from serve.durable import sync_to_disk
from serve.store import journal
from serve.store.basis import Basis
from serve.store.known import KnownStudies
from serve.store.records import StudyRecord, StudyState, write_record

_SUFFIXES = (".nii.gz", ".nii", ".mat", ".npz", ".zip", ".dcm")
_CHUNK_BYTES = 2**20
HALF_WRITTEN_KEPT_S = 3600.0
"""Age at which an upload that never became whole is removed [s]; its sender is gone by then."""


def remove_stale(incoming: Path, older_than_s: float) -> int:
    """Remove folders of uploads that are older than that [s]; returns how many."""
    stale = [path for path in incoming.iterdir() if time.time() - path.stat().st_mtime >= older_than_s]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    return len(stale)


class Upload:
    """Files on their way into the store.

    Args:
        staging: a new folder of this upload alone.
        store: the folder that it is renamed into.
        known: where it is entered.
    """

    def __init__(self, staging: Path, store: Path, known: KnownStudies) -> None:
        self._staging, self._store, self._known, self._hashes = staging, store, known, list[str]()
        (staging / "upload").mkdir(parents=True, mode=0o700)

    @property
    def files(self) -> list[Path]:
        """What was added so far, in order."""
        return sorted((self._staging / "upload").iterdir())

    @property
    def scratch(self) -> Path:
        """A folder for whoever reads the files; it goes with the upload and never becomes part of the study."""
        folder = self._staging.with_name(f"{self._staging.name}-scratch")
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    @property
    def content_sha256(self) -> str:
        """Hash of all files' bytes and suffixes, whatever their order and names."""
        return hashlib.sha256("/".join(sorted(self._hashes)).encode()).hexdigest()

    def add(self, source: BinaryIO, sent_name: str) -> int:
        """Copy one file to disk, synced; returns its size in bytes.

        Args:
            source: its bytes.
            sent_name: the sender's name for it, of which only a known suffix is used.

        Raises:
            OSError: the disk is full, or fails.
        """
        suffix = next((known for known in _SUFFIXES if sent_name.lower().endswith(known)), "")
        path = self._staging / "upload" / f"{len(self._hashes):06d}{suffix}"
        found = hashlib.sha256(suffix.encode())
        with path.open("xb") as sink:
            while chunk := source.read(_CHUNK_BYTES):
                found.update(chunk)
                sink.write(chunk)
            sink.flush()
            os.fsync(sink.fileno())
            self._hashes.append(found.hexdigest())
            return sink.tell()

    def commit(self, n_sweeps: int, basis: Basis) -> StudyRecord:
        """Make a study of it, whole and synced; the folder appears under its id by one rename.

        Its entry among the known studies is written first: a crash in between leaves one that leads nowhere.

        Args:
            n_sweeps: slices x members.
            basis: what it is to be analysed with.
        """
        created = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = StudyRecord(
            self._staging.name,
            StudyState.RECEIVED,
            created,
            n_sweeps,
            content_sha256=self.content_sha256,
            pool_sha256=basis.pool_sha256,
            settings_sha256=basis.settings_sha256,
        )
        journal.append(self._staging, "received")
        sync_to_disk(self._staging / "upload")
        write_record(self._staging, record)
        self._known.enter(basis.with_content(record.content_sha256), record.id)
        self._staging.rename(self._store / record.id)
        sync_to_disk(self._store)
        return record

    def discard(self) -> None:
        """Remove what was not committed."""
        shutil.rmtree(self._staging, ignore_errors=True)
        shutil.rmtree(self._staging.with_name(f"{self._staging.name}-scratch"), ignore_errors=True)
