"""Trials on one image, block by block."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch

from pool.errors import InconsistentStudyError, SettingsError
from pool.evaluation.overlap import dice
from pool.shapes import MYOCARDIUM, Mask, SliceFrames
from pool.sweep import MASK_THRESHOLD
from pool.trials.samplers import Sampler
from pool.trials.settings import TrialSettings
from pool.trials.sums import TrialSums, block_sums, merge


def run_trials(
    sampler: Sampler,
    image: SliceFrames,
    settings: TrialSettings,
    blocks: Iterable[int] | None = None,
    reference: Mask | None = None,
    keep_going: Callable[[], bool] | None = None,
) -> TrialSums | None:
    """Sum the trials of some blocks; None only where `keep_going` said stop.

    The same sampler, image and settings give the same bits for a block wherever and with whatever others it is
    computed, on one kind of machine and number of threads: replicas share the blocks, and `merge` puts them together.

    Args:
        sampler: the network, ready.
        image: standardised, float32 `time row col`, see `pool.trials.images`.
        settings: how many trials, from which seed.
        blocks: numbers of the blocks to compute, each from 0 to below `settings.n_blocks`; None takes all.
        reference: true myocardium, bool `row col`, for every trial's Dice.
        keep_going: asked before every block.

    Raises:
        SettingsError: no blocks, or one that the settings do not have.
        InconsistentStudyError: an image or a reference that does not fit the network.
    """
    chosen = list(range(settings.n_blocks) if blocks is None else blocks)
    if reference is not None and reference.shape != image.shape[1:]:
        rule = "must have the image's rows and columns"
        raise InconsistentStudyError("reference mask", rule, f"{reference.shape} for {image.shape[1:]}")
    total: TrialSums | None = None
    _check_blocks(settings, chosen)
    answers = run_probabilities(sampler, image, settings, chosen)
    for _ in chosen:
        if keep_going is not None and not keep_going():
            return None
        block, probability = next(answers)
        found = block_sums(settings, block, probability, _dices(probability, reference))
        total = found if total is None else merge([total, found])
    return total


def run_probabilities(
    sampler: Sampler, image: SliceFrames, settings: TrialSettings, blocks: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Number and probabilities, float32 `trial class row col`, of one block after another.

    Args:
        sampler, image, settings: see `run_trials`.
        blocks: numbers of the blocks.

    Raises:
        SettingsError: no blocks, or one that the settings do not have.
        InconsistentStudyError: an image that does not fit the network.
    """
    _check_blocks(settings, blocks)
    _check(sampler, image)
    certain = sampler.certain(torch.from_numpy(image)[None].to(sampler.device))
    for block in blocks:
        generators = [trial_generator(settings.seed, i, sampler.device) for i in settings.trials_of(block)]
        yield block, sampler.probability(certain, generators)


def trial_generator(seed: int, trial: int, device: torch.device) -> torch.Generator:
    """The generator that a trial draws from: its own, whichever replica computes it."""
    digest = hashlib.sha256(f"trial/{seed}/{trial}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def _dices(probability: torch.Tensor, reference: Mask | None) -> list[float] | None:
    if reference is None:
        return None
    masks = (probability[:, MYOCARDIUM] >= MASK_THRESHOLD).cpu().numpy()
    return [dice(mask, reference) for mask in masks]


def _check_blocks(settings: TrialSettings, blocks: Sequence[int]) -> None:
    if not blocks or any(not 0 <= block < settings.n_blocks for block in blocks):
        rule = f"blocks must be some of the {settings.n_blocks} that {settings.n_trials} trials have"
        raise SettingsError("trials", rule, str(list(blocks)[:5]))


def _check(sampler: Sampler, image: SliceFrames) -> None:
    if image.ndim != 3 or image.shape[0] != sampler.n_frames or image.dtype != np.float32:
        rule = f"must be float32 with {sampler.n_frames} frames of rows and columns, as the network takes"
        raise InconsistentStudyError("image", rule, f"{image.dtype} {image.shape}")
    if any(size % sampler.multiple_px for size in image.shape[1:]):
        rule = f"rows and columns must be multiples of {sampler.multiple_px} for this network"
        raise InconsistentStudyError("image", rule, f"{image.shape[1]} x {image.shape[2]}")
