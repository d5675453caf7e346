"""A member's first answer, about noise: it works, and what is slow once is behind it."""

from __future__ import annotations

import numpy as np

from pool.errors import PoolFolderError, SettingsError
from pool.member import Member
from pool.preprocess import PreparedSlice, PreprocessSettings, WayBack
from pool.sweep import SweepSettings
from pool.trials.run import run_probabilities
from pool.trials.samplers import Sampler, sampler_of
from pool.trials.settings import TrialSettings


def try_member(member: Member, preprocess: PreprocessSettings, sweep: SweepSettings) -> None:
    """Let a member of patches sweep those of its mask once.

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
    _check(member, moments is not None and bool(np.isfinite(moments.probability).all()))


def tried_sampler(member: Member) -> Sampler:
    """A member of trials, ready, after it has answered one trial.

    Args:
        member: loaded and verified.

    Raises:
        PoolFolderError: its answer is not finite.
        SettingsError: it takes more than one image at a time.
    """
    sampler = sampler_of(member.network)
    if sampler.n_frames != 1:
        remedy = "Take it out of the pool: nothing here asks it."
        raise SettingsError(f"member {member.entry.id}", "must take one image", f"{sampler.n_frames} frames", remedy)
    n_px = 2 * sampler.multiple_px
    noise = np.random.default_rng(0).standard_normal((1, n_px, n_px)).astype(np.float32)
    _, probability = next(run_probabilities(sampler, noise, TrialSettings(1), [0]))
    _check(member, bool(probability.isfinite().all()))
    return sampler


def _check(member: Member, is_finite: bool) -> None:
    if not is_finite:
        raise PoolFolderError(
            f"member {member.entry.id}",
            "must give finite probabilities",
            "others on noise",
            "Its weights are of no use: train it again, or take it out of the pool.",
        )
