"""How large an array a file may announce: checked before memory is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pool.errors import UnreadableFileError

MOST_ARRAY_BYTES = 1_000_000_000
"""Most bytes of one array as it is stored or as float32; a study of 3 x 90 frames of 256 x 256 has 0.07 GB."""
_BYTES_OF_FLOAT32 = 4


def refuse_large(file_name: str, shape: Sequence[int], itemsize: int) -> None:
    """Refuse a shape that a header announces and that no study has.

    Args:
        file_name: base name of the file.
        shape: as the header says it; negative lengths are refused too.
        itemsize: bytes of one stored number; counted as 4 where it is less, as frames become float32.

    Raises:
        UnreadableFileError: more than `MOST_ARRAY_BYTES`, or a negative length.
    """
    n_bytes = math.prod(int(n) for n in shape) * max(int(itemsize), _BYTES_OF_FLOAT32)
    if any(n < 0 for n in shape) or n_bytes > MOST_ARRAY_BYTES:
        raise UnreadableFileError(
            f"file {file_name}",
            f"may announce arrays of at most {MOST_ARRAY_BYTES / 1e9:g} GB",
            f"{n_bytes / 1e9:.3g} GB of shape {tuple(int(n) for n in shape)}",
            "Was the file damaged? Send one study at a time.",
        )
