"""Sums over trials that merge exactly, in any order and from any number of replicas; no trial's map is kept.

A probability is a multiple of 2^-24 here: it is rounded by at most 3e-8, less than what a float32 near 1 resolves. Sums
of it and of its square are then whole numbers in units of 2^-24 and 2^-48, kept in 64-bit integers, where addition has
no rounding and so no order. Up to 32,767 trials fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pool.errors import SettingsError
from pool.shapes import MYOCARDIUM
from pool.trials.settings import TrialSettings

UNIT = 2.0**-24
"""Resolution of a summed probability."""


@dataclass(frozen=True, eq=False)
class TrialSums:
    """What is known of an image after some blocks of its trials."""

    settings: TrialSettings
    blocks: frozenset[int]
    """Those that are summed."""
    p_sum: np.ndarray
    """Sum of the probabilities in units of 2^-24, int64 `class row col`."""
    p2_sum: np.ndarray
    """Sum of the squared probability of myocardium in units of 2^-48, int64 `row col`."""
    dices: dict[int, tuple[float, ...]] | None = None
    """Dice of every trial's mask against the reference, by block; None without a reference."""

    @property
    def n_trials(self) -> int:
        """Trials that are summed."""
        return sum(len(self.settings.trials_of(block)) for block in self.blocks)

    @property
    def missing(self) -> tuple[int, ...]:
        """Blocks that are not summed, such as those of a replica that was lost."""
        return tuple(block for block in range(self.settings.n_blocks) if block not in self.blocks)

    def cropped(self, n_rows: int, n_cols: int) -> TrialSums:
        """The sums of the first rows and columns: of an image without its padding."""
        return replace(self, p_sum=self.p_sum[:, :n_rows, :n_cols], p2_sum=self.p2_sum[:n_rows, :n_cols])

    def all_dices(self) -> np.ndarray | None:
        """Dice of the trials in their order, `trial`; None without a reference."""
        if self.dices is None:
            return None
        return np.array([value for block in sorted(self.dices) for value in self.dices[block]])


def block_sums(
    settings: TrialSettings, block: int, probability: torch.Tensor, dices: Sequence[float] | None
) -> TrialSums:
    """The sums of one block.

    Args:
        settings: of the image's trials.
        block: number of the block.
        probability: softmax probabilities of its trials, float32 `trial class row col`.
        dices: of its trials, if there is a reference.
    """
    whole = (probability / UNIT).round_().long()
    muscle = whole[:, MYOCARDIUM]
    p_sum, p2_sum = whole.sum(dim=0).cpu().numpy(), (muscle * muscle).sum(dim=0).cpu().numpy()
    return TrialSums(settings, frozenset([block]), p_sum, p2_sum, None if dices is None else {block: tuple(dices)})


def merge(parts: Sequence[TrialSums]) -> TrialSums:
    """The sums of several parts: the same bits however the blocks were shared and in whatever order they come.

    Raises:
        SettingsError: no parts, parts of other trials or images, a block that comes twice, or a reference in some parts
            only.
    """
    if not parts:
        raise SettingsError("trials", "merging needs at least one part", "none")
    first = parts[0]
    if any(part.settings != first.settings or part.p_sum.shape != first.p_sum.shape for part in parts):
        raise SettingsError("trials", "parts must be of the same image with the same settings", "others")
    blocks = [block for part in parts for block in part.blocks]
    if len(set(blocks)) < len(blocks):
        raise SettingsError("trials", "a block must be summed once", f"{len(blocks) - len(set(blocks))} twice")
    with_reference = [part.dices for part in parts if part.dices is not None]
    if with_reference and len(with_reference) < len(parts):
        raise SettingsError("trials", "all parts or none must know the reference", f"{len(with_reference)} do")
    dices = {block: found for part in with_reference for block, found in part.items()} if with_reference else None
    p_sum = np.sum([part.p_sum for part in parts], axis=0)
    p2_sum = np.sum([part.p2_sum for part in parts], axis=0)
    return TrialSums(first.settings, frozenset(blocks), p_sum, p2_sum, dices)
