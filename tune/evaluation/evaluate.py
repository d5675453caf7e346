"""Every member of a pool on every slice of some sets, and what each selection rule made of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pool.engine.machine import device_named
from pool.errors import SettingsError
from pool.evaluation.failures import FailureCriteria
from pool.evaluation.rules import MeasuredSlice, measure_mask
from pool.evaluation.statistics import RuleComparison, compare_rules
from pool.evaluation.summary import EvaluatedSet
from pool.evaluation.true_heart import TrueHeart
from pool.member import Pool
from pool.preprocess import PreprocessSettings
from pool.shapes import MYOCARDIUM, Mask
from pool.sweep import SweepSettings
from tune.evaluation.sources import SliceSource, TrueSlice
from tune.evaluation.sweeps import KeptSweeps

EXTERNAL = "exD"
"""How the names of the paper's external data sets begin; it counts their failures together."""


@dataclass(frozen=True)
class EvaluationSettings:
    """What decides the numbers of an evaluation, beside pool and slices.

    Raises:
        SettingsError: a stride that does not divide the mask's, no threads, a negative seed, or a device that torch
            cannot use.
    """

    stride_px: int = 2
    """Stride of the U-map; 2 is the paper's, 4 takes a quarter of the time."""
    seed: int = 1
    """Of the phantom subjects and of `random-member`."""
    n_threads: int = 1
    """Torch's threads."""
    device: str = "cpu"
    """Torch's device, where the pool was loaded."""

    def __post_init__(self) -> None:
        mask_stride_px = SweepSettings.mask_stride_px
        if self.stride_px < 1 or mask_stride_px % self.stride_px:
            rule = f"the stride must divide the mask's, {mask_stride_px} px, as one sweep gives both maps"
            raise SettingsError("evaluation", rule, f"{self.stride_px} px", "Take 2, 4, 8 or 16.")
        if self.n_threads < 1:
            raise SettingsError("evaluation", "needs at least one thread", str(self.n_threads), "Take 1 or more.")
        if self.seed < 0:
            raise SettingsError("evaluation", "the seed must not be negative", str(self.seed), "Take 0 or more.")
        device_named(self.device)

    def sweep(self) -> SweepSettings:
        """How slices are swept."""
        return SweepSettings(stride_px=self.stride_px)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class SetResult:
    """One set: where it came from, its numbers, and the masks to draw."""

    source: SliceSource
    evaluated: EvaluatedSet
    indices: tuple[int, ...]
    """Number in `source` of every slice of `evaluated`."""
    masks: tuple[dict[str, Mask], ...]
    """Every member's mask by id, one mapping a slice of `evaluated`."""
    sha256: str
    """Hash of all frames and labels that were evaluated."""

    @property
    def n_without_truth(self) -> int:
        """Slices left out because their labels show no myocardium."""
        return len(self.source) - len(self.indices)

    def true_slice(self, number: int) -> TrueSlice:
        """Pixels and labels of a slice of `evaluated`."""
        return self.source[self.indices[number]]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """All sets with the comparison of the paper's rule with the established approach."""

    pool: Pool
    settings: EvaluationSettings
    sets: tuple[SetResult, ...]
    n_swept: int
    """Sweeps made."""
    n_kept: int
    """Sweeps found from an earlier evaluation."""

    def comparisons(self) -> tuple[RuleComparison, ...]:
        """`min-u_pp` against `best-validation`: set by set, then all external sets together, as the paper does."""
        found = [compare_rules(item.evaluated.name, [item.evaluated]) for item in self.sets]
        external = [item.evaluated for item in self.sets if item.evaluated.name.startswith(EXTERNAL)]
        if len(external) > 1:
            found.append(compare_rules(" + ".join(item.name for item in external), external))
        return tuple(found)


def evaluate(
    pool: Pool,
    sources: Sequence[SliceSource],
    settings: EvaluationSettings,
    out_dir: Path,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """Sweep every slice with every member, measure the masks on the prepared grid, apply every rule.

    Args:
        pool: all members, on the device of the settings.
        sources: the sets.
        settings: see `EvaluationSettings`.
        out_dir: where sweeps are kept.
        on_progress: called with sweeps made and sweeps still thought to be needed in all; kept ones count as neither.

    Raises:
        SettingsError: a pool that is only a shard, a set in which no slice has a truth, or slices with another number
            of frames than the networks take.
        InconsistentStudyError: a slice that is not a prepared one.
    """
    if len(pool.members) != pool.manifest.n_members:
        found = f"{len(pool.members)} of {pool.manifest.n_members}"
        raise SettingsError("evaluation", "needs all members of the pool", found, "Load the whole pool.")
    pool.manifest.require_patches()
    torch.set_num_threads(settings.n_threads)
    sweeps = KeptSweeps(out_dir, pool, settings.sweep())
    n_all, n_skipped = sum(map(len, sources)) * len(pool.of_patches), 0
    results = []

    def report() -> None:
        on_progress(sweeps.n_swept, n_all - sweeps.n_kept - n_skipped)

    for source in sources:
        slices, indices, masks = [], [], []
        digest = hashlib.sha256()
        for index in range(len(source)):
            item = source[index]
            if not (item.labels == MYOCARDIUM).any():
                n_skipped += len(pool.of_patches)
                continue
            digest.update(item.frames.tobytes() + np.ascontiguousarray(item.labels).tobytes())
            answers = sweeps.answers(item.prepared(), report)
            masks.append({member_id: answer.mask for member_id, answer in sorted(answers.items())})
            scores = tuple(answers[member.entry.id].score(member) for member in pool.of_patches)
            slices.append(_measured(item, scores, masks[-1]))
            indices.append(index)
        if not slices:
            remedy = "Are its labels the right ones? If so, leave the set out."
            raise SettingsError(f"set {source.name}", "needs a slice with myocardium in its labels", "none", remedy)
        evaluated = EvaluatedSet.of(source.name, slices, settings.seed)
        results.append(SetResult(source, evaluated, tuple(indices), tuple(masks), digest.hexdigest()))
    return Evaluation(pool, settings, tuple(results), sweeps.n_swept, sweeps.n_kept)


def _measured(item: TrueSlice, scores: Sequence[Any], masks: dict[str, Mask]) -> MeasuredSlice:
    spacing_mm = PreprocessSettings().target_spacing_mm  # what every prepared slice has
    criteria = FailureCriteria.for_heart(TrueHeart.from_labels(item.labels, item.level), (spacing_mm, spacing_mm))
    measures = {member_id: measure_mask(mask, criteria) for member_id, mask in masks.items()}
    return MeasuredSlice(item.name, item.subject, item.level, tuple(scores), measures)
