"""Proton-density frames that lead a run: taken without saturation, before the bolus; no part of the first pass.

Told by their headers, where flip angle, inversion time or sequence name differ from the frames that follow, otherwise
by their brightness: without saturation every tissue is far brighter than in the baseline, and that ends at one frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pool.dicom.frames import FrameRecord
from pool.errors import TooFewFramesError
from pool.run_choice import MOST_PROTON_DENSITY
from pool.series import LEAST_FRAMES

STEP_RATIO = 1.6
"""Least fall of the typical pixel from the last proton-density frame to the first frame of the baseline."""
BODY_SHARE = 0.15
"""Pixels that reach this share of the first frame's 99th percentile are body, the rest is air and lung."""


def leading_by_header(slices: Sequence[Sequence[FrameRecord]]) -> int:
    """Frames that lead every slice and were prepared otherwise than most of the others; 0 where slices disagree."""
    counts = set()
    for records in slices:
        usual = Counter(record.preparation for record in records).most_common(1)[0][0]
        differing = [i for i, record in enumerate(records) if record.preparation != usual]
        leads = differing == list(range(len(differing))) and len(differing) <= MOST_PROTON_DENSITY
        counts.add(len(differing) if leads else 0)
    return counts.pop() if len(counts) == 1 else 0


def leading_by_brightness(frames: np.ndarray) -> int:
    """Frames that lead every slice and from which the body's typical pixel falls by `STEP_RATIO` at once.

    The bolus fills cavities, a small part of the body, within several frames: it moves no typical pixel so.

    Args:
        frames: `slice time row col`.
    """
    most = min(MOST_PROTON_DENSITY, frames.shape[1] - LEAST_FRAMES)
    if most < 1:
        return 0
    counts = set()
    for images in frames[:, : most + 1]:
        bright = images[0] - images.min()
        body = bright >= max(BODY_SHARE * float(np.percentile(bright, 99)), 1e-6)
        levels = np.median(images[:, body], axis=1) if body.any() else np.zeros(most + 1)
        steps = [i + 1 for i in range(most) if levels[i + 1] > 0 and levels[i] >= STEP_RATIO * levels[i + 1]]
        steady = len(steps) == 1 and levels[: steps[0]].max() < STEP_RATIO * levels[: steps[0]].min()
        counts.add(steps[0] if steady else 0)
    return counts.pop() if len(counts) == 1 else 0


def check_left(n_frames: int, n_leading: int) -> None:
    """Refuse to leave out so many frames that no first pass is left.

    Raises:
        TooFewFramesError: fewer than 8 frames are left.
    """
    if n_frames - n_leading < LEAST_FRAMES:
        raise TooFewFramesError(
            "series",
            f"a first pass needs at least {LEAST_FRAMES} frames behind the proton-density frames",
            f"{n_frames - n_leading}",
            "Say how many there are by --proton-density.",
        )
