"""The durable log of a training: what MLflow is to be told, on disk before anybody tries to tell it.

`log.jsonl` has a line a group of entries; a group is there whole or not at all. `files/` holds the artefacts that are
still to be sent, as hard links where the file system allows.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tune.errors import JournalError
from tune.tracking.entries import Entry, from_fields, to_fields

LOG_NAME, FILES_NAME, LOCK_NAME = "log.jsonl", "files", "lock"
FORMAT_VERSION = 1


class Journal:
    """A training's log; one process at a time.

    Args:
        folder: of the log, made if it does not exist.

    Raises:
        JournalError: another process uses it, or it is damaged other than at its end.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, folder / FILES_NAME
        self.files.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._log = os.open(folder / LOG_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            os.close(self._lock)
            if not isinstance(error, BlockingIOError):
                raise
            remedy = "A training that runs sends its log itself."
            raise JournalError("MLflow log", "must not be in use", "another process", remedy) from error
        self._entries: list[Entry] = []
        self.training_id = ""
        """Of the training that is logged here, the same in every run that it ever makes in MLflow."""
        try:
            self._read_or_begin()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether a training was logged there."""
        return (folder / LOG_NAME).is_file()

    @property
    def entries(self) -> Sequence[Entry]:
        """All entries so far, in order."""
        return self._entries

    def append(self, *entries: Entry) -> None:
        """Add a group of entries: all of them are on disk when this returns, or none.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        self._write({"entries": [to_fields(entry) for entry in entries]})
        self._entries.extend(entries)

    def keep(self, source: Path | bytes, name: str) -> str:
        """Keep a file until it is sent.

        Args:
            source: a file that nobody writes to any more, or its content.
            name: file name in MLflow.

        Returns:
            Its path inside `files`.

        Raises:
            OSError: the disk is full, or there is no such file.
        """
        folder = self.files / uuid.uuid4().hex
        folder.mkdir()
        path = folder / name
        if isinstance(source, bytes):
            path.write_bytes(source)
        else:
            try:
                os.link(source, path)
            except OSError:  # another file system, or one without links
                shutil.copyfile(source, path)
        with path.open("rb") as file:
            os.fsync(file.fileno())
        return str(path.relative_to(self.files))

    def drop(self, file: str) -> None:
        """Forget a kept file."""
        shutil.rmtree((self.files / file).parent, ignore_errors=True)

    def close(self) -> None:
        """Let another process use the log."""
        os.close(self._log)
        os.close(self._lock)

    def _read_or_begin(self) -> None:
        content = (self.folder / LOG_NAME).read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # the process died, or the disk was full, within a line
            os.truncate(self.folder / LOG_NAME, len(whole))
        if not whole:
            self.training_id = uuid.uuid4().hex
            self._write({"format": FORMAT_VERSION, "training_id": self.training_id})
            return
        try:
            header, *groups = (dict(json.loads(line)) for line in whole.splitlines())
            if header["format"] != FORMAT_VERSION:
                raise JournalError("MLflow log", f"must have format {FORMAT_VERSION}", repr(header["format"]))
            self.training_id = str(header["training_id"])
            self._entries.extend(from_fields(fields) for group in groups for fields in group["entries"])
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError("MLflow log", "must be the lines that a training wrote", type(error).__name__) from error

    def _write(self, line: dict[str, Any]) -> None:
        end = os.fstat(self._log).st_size
        data = json.dumps(line).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._log, data) :]
            os.fsync(self._log)
        except OSError:
            os.ftruncate(self._log, end)  # half a line would spoil the next one
            raise
