"""A member's first sweep, over the few patches of its mask on noise: it works, and what is slow once is behind it."""

from __future__ import annotations

import numpy as np

from pool.errors import PoolFolderError
from pool.member import Member
from pool.preprocess import PreparedSlice, PreprocessSettings, WayBack
from pool.sweep import SweepSettings


def try_member(member: Member, preprocess: PreprocessSettings, sweep: SweepSettings) -> None:
    """Let a member answer once.

    Args:
        member: loaded and verified.
        preprocess: how slices will be prepared.
        sweep: how they will be swept.

    Raises:
        PoolFolderError: its answer is not finite.
        SettingsError: it takes another number of frames than slices will have.
    """
    n_px = preprocess.image_px
    frames = np.random.default_rng(0).random((preprocess.n_frames, n_px, n_px), dtype=np.float32)
    way_back = WayBack((n_px, n_px), n_px, (0.0, 0.0), (1.0, 1.0))
    noise = PreparedSlice("noise", frames, way_back, (n_px / 2, n_px / 2), (0.0, 1.0), (0.0, 1.0))
    n_patches = sweep.patches(n_px).mask_grid.n_patches
    moments = member.refine(noise, sweep, n_patches, None)
    if moments is None or not np.isfinite(moments.probability).all():
        raise PoolFolderError(
            f"member {member.entry.id}",
            "must give finite probabilities",
            "others on a slice of noise",
            "Its weights are of no use: train it again, or take it out of the pool.",
        )
