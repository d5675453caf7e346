"""Bytes that are on disk when the call returns, and files that change whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path


def replace_file(path: Path, data: bytes, sync: bool) -> None:
    """Put new bytes in place of a file at once; with `sync` they survive a power cut."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    if sync:
        sync_to_disk(path.parent)


def lacks_room(error: BaseException) -> bool:
    """Whether an error is, or was caused by, a full disk or quota."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        cause = cause.__cause__
    return False


def sync_to_disk(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
