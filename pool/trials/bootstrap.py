"""How sure a score is after so many trials: resampled from many that were made (Do et al. 2020, Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pool.errors import SettingsError
from pool.evaluation.overlap import dice
from pool.shapes import MYOCARDIUM, Mask, SliceFrames
from pool.sweep import MASK_THRESHOLD
from pool.trials.run import run_probabilities
from pool.trials.samplers import Sampler
from pool.trials.settings import TrialSettings

STILL = 1e-4
"""Standard deviation over all trials below which a pixel is taken as fixed: its map is none."""
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class TrialsCurve:
    """Scores of one image against the number of trials, over the scores from all trials."""

    n_all: int
    """Trials that were made."""
    n_repeats: int
    """Resamples for each number."""
    n_trials: tuple[int, ...]
    mcd_mean: tuple[float, ...]
    """Mean over the resamples of MCD Uncertainty / that of all trials."""
    mcd_sd: tuple[float, ...]
    """Its standard deviation over the resamples."""
    dice_mean: tuple[float, ...]
    """The same of Dice Uncertainty."""
    dice_sd: tuple[float, ...]


def trials_curve(
    sampler: Sampler,
    image: SliceFrames,
    reference: Mask,
    settings: TrialSettings,
    n_trials: Sequence[int],
    n_repeats: int,
    seed: int = 0,
) -> TrialsCurve:
    """Make all trials of `settings`, keep them (4 bytes a pixel and trial), and resample them with replacement.

    Args:
        sampler, image, reference: see `run_trials`.
        settings: of all trials.
        n_trials: numbers to resample.
        n_repeats: resamples of each number; the paper's 1024.
        seed: of the resampling.

    Raises:
        SettingsError: no numbers or repeats, or scores that are 0 or missing, to which nothing can be related.
    """
    if not n_trials or min(n_trials) < 1 or n_repeats < 2:
        raise SettingsError("bootstrap", "needs numbers of trials and at least two repeats", f"{list(n_trials)}")
    p, dices = _all_trials(sampler, image, reference, settings)
    deviation, mean = p.std(axis=0), p.mean(axis=0)
    moving = deviation > STILL
    n_still = int((mean[~moving] >= MASK_THRESHOLD).sum())
    p = np.ascontiguousarray(p[:, moving])
    squared = p * p
    n_mask = int((mean >= MASK_THRESHOLD).sum())
    if not n_mask or not moving.any() or not np.ptp(dices) > 0:
        raise SettingsError("bootstrap", "needs an image with a mask and some uncertainty", f"a mask of {n_mask} px")
    whole = (float(deviation[moving].sum()) / n_mask, float(dices.std()))
    rng = np.random.default_rng(seed)
    found: list[tuple[float, float, float, float]] = []
    for n in n_trials:
        drawn = rng.integers(0, len(p), (n_repeats, n))
        mcd = np.concatenate(
            [_mcd(drawn[i : i + ROWS_AT_ONCE], p, squared, n_still) for i in range(0, n_repeats, ROWS_AT_ONCE)]
        )
        of_dice = dices[drawn].std(axis=1)
        found.append((mcd.mean() / whole[0], mcd.std() / whole[0], of_dice.mean() / whole[1], of_dice.std() / whole[1]))
    columns = [tuple(float(value) for value in column) for column in zip(*found)]
    return TrialsCurve(len(p), n_repeats, tuple(n_trials), *columns)


def _all_trials(
    sampler: Sampler, image: SliceFrames, reference: Mask, settings: TrialSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of myocardium of every trial, float32 `trial pixel`, and the Dice of its mask, `trial`."""
    p = np.empty((settings.n_trials, *image.shape[1:]), dtype=np.float32)
    for block, probability in run_probabilities(sampler, image, settings, range(settings.n_blocks)):
        trials = settings.trials_of(block)
        p[trials.start : trials.stop] = probability[:, MYOCARDIUM].cpu().numpy()
    dices = np.array([dice(trial >= MASK_THRESHOLD, reference) for trial in p])
    return p.reshape(len(p), -1), dices


def _mcd(drawn: np.ndarray, p: np.ndarray, squared: np.ndarray, n_still: int) -> np.ndarray:
    """MCD Uncertainty of some resamples `resample trial`; an empty mask counts as one of a single pixel."""
    counts = np.zeros((len(drawn), len(p)), dtype=np.float32)
    for row, indices in zip(counts, drawn):
        row += np.bincount(indices, minlength=len(p))
    n = drawn.shape[1]
    mean = (counts @ p) / n
    deviation = np.sqrt(np.maximum((counts @ squared) / n - mean * mean, 0.0))
    n_mask = (mean >= MASK_THRESHOLD).sum(axis=1) + n_still
    return deviation.sum(axis=1) / np.maximum(n_mask, 1)
