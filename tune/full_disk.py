"""A full disk, said in one sentence: checkpoints that were stored before stay whole, so that a resume goes on there."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pool.errors import OutputError, PoolError

LEAST_FREE_BYTES = 1_000_000
"""A disk with less room than this is full: what went wrong on it went wrong for that reason."""

RESUME = "--resume goes on from the last checkpoint that was stored"
"""How a training goes on that was given a storage folder."""


@contextmanager
def full_disk_in_words(subject: str, folder: Path | None = None, go_on: str = RESUME) -> Iterator[None]:
    """Turn whatever a full disk caused inside the block into one error; other errors pass.

    Args:
        subject: what needs the room.
        folder: on the disk; None where it is known to the error alone.
        go_on: how, once there is room; a clause.

    Raises:
        OutputError: no space was left.
    """
    try:
        yield
    except PoolError:
        raise
    except Exception as error:
        if not (_says_so(error) or _is_full(folder)):
            raise
        remedy = f"Free some space; {go_on}."
        raise OutputError(subject, "needs room on the disk", "no space left", remedy) from error


def _says_so(error: BaseException | None) -> bool:
    """Whether the error, or what it came from, is the operating system's for a full disk or an exhausted quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def _is_full(folder: Path | None) -> bool:
    try:
        return folder is not None and shutil.disk_usage(folder).free < LEAST_FREE_BYTES
    except OSError:
        return False
