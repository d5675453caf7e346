"""An image as the networks of trials take it: zero mean, unit variance."""

from __future__ import annotations

import numpy as np

from pool.errors import InconsistentStudyError, NonFiniteError
from pool.shapes import SliceFrames


def standardised(image: SliceFrames, subject: str = "image") -> SliceFrames:
    """The image less its mean, over its standard deviation, over all frames and pixels (Do et al. 2020, "Dataset").

    Args:
        image: float `time row col`, one frame for ASL; any unit, signed or not.
        subject: names it in errors.

    Raises:
        InconsistentStudyError: another number of axes, or an image that is the same everywhere.
        NonFiniteError: pixels that are not finite.
    """
    if image.ndim != 3 or not image.size:
        raise InconsistentStudyError(subject, "must have the axes time, row and column", str(image.shape))
    if not np.isfinite(image).all():
        raise NonFiniteError(subject, "every pixel must be a finite number", "NaN or infinite", "Export it again.")
    deviation = float(image.std(dtype=np.float64))
    if not deviation > 0:
        raise InconsistentStudyError(subject, "must show something", "the same value everywhere")
    return ((image - image.mean(dtype=np.float64)) / deviation).astype(np.float32)


def padded(image: SliceFrames, multiple_px: int) -> SliceFrames:
    """The image with its last row and column repeated until both numbers are multiples, float32 `time row col`.

    Args:
        image: standardised, float32 `time row col`.
        multiple_px: of rows and columns.
    """
    missing = [-size % multiple_px for size in image.shape[1:]]
    return np.pad(image, ((0, 0), (0, missing[0]), (0, missing[1])), mode="edge") if any(missing) else image
