"""What may be said of an exception in a log: where it was raised and of which class, never its text.

The text of an exception of another library may quote what is in a file: a name, a birth date.
"""

from __future__ import annotations

import traceback
from pathlib import Path


def in_short(error: BaseException) -> str:
    """Class and place of an exception and of those that led to it, without their texts."""
    steps: list[str] = []
    cause: BaseException | None = error
    while cause is not None and len(steps) < 5:
        frames = traceback.extract_tb(cause.__traceback__)[-3:]
        place = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        steps.append(f"{type(cause).__name__} at {place or 'an unknown place'}")
        cause = cause.__cause__ or cause.__context__
    return ", from ".join(steps)
