"""What every selection rule would have believed on a slice whose truth is known, and how good that was."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pool.errors import SettingsError
from pool.evaluation.failures import NO_OUTLINE, FailureCriteria
from pool.evaluation.overlap import dice
from pool.evaluation.surface import hd95_mm
from pool.selection import RULES, MemberScore, select
from pool.shapes import Mask

MEMBERS_MEAN, RANDOM_MEMBER, ORACLE = "members-mean", "random-member", "oracle"
RULE_NAMES = (*RULES, MEMBERS_MEAN, RANDOM_MEMBER, ORACLE)
"""The rules that a program can follow, and three to measure them by: the mean over all members, one member drawn by
chance, and the member that the truth would choose."""


@dataclass(frozen=True)
class MemberMeasure:
    """How good one member's outline of one slice is."""

    dice: float
    """Of the myocardium, in [0, 1]; 0 where it outlined nothing."""
    hd95_mm: float
    """Infinite where it outlined nothing."""
    why_failed: tuple[str, ...]
    """The failure criteria that it meets, in words; empty where the outline did not fail."""

    @property
    def failed(self) -> bool:
        """Whether the outline failed."""
        return bool(self.why_failed)


NOTHING_OUTLINED = MemberMeasure(0.0, math.inf, (NO_OUTLINE,))
"""A slice without an outline: the worst there is, never a missing value."""


@dataclass(frozen=True)
class MeasuredSlice:
    """Every member's scores, which a rule may see, and measures, which need the truth.

    Raises:
        SettingsError: no members, or a member without a measure.
    """

    name: str
    subject: str
    """Whose heart it is; slices of one subject are not independent."""
    level: str
    """`base`, `mid`, `apex`, or what the labelled set says."""
    scores: tuple[MemberScore, ...]
    measures: Mapping[str, MemberMeasure]
    """By member id."""

    def __post_init__(self) -> None:
        ids = {score.member_id for score in self.scores}
        if not ids or ids != set(self.measures):
            found = f"{len(ids)} scores, {len(self.measures)} measures"
            raise SettingsError(f"slice {self.name}", "needs members, with a measure for each", found)


@dataclass(frozen=True)
class RuleOutcome:
    """What following one rule gave on one slice."""

    rule: str
    chosen: str | None
    """The believed member; None where there was none, and for `members-mean`."""
    dice: float
    hd95_mm: float
    failed: float
    """1 for a failed outline, else 0; for `members-mean` the share of members whose outline failed."""
    regret: float
    """Dice that the oracle would have had more; never negative."""


def measure_mask(mask: Mask, criteria: FailureCriteria) -> MemberMeasure:
    """Dice, HD95 and failure of an outline; `mask` on the grid of the truth."""
    if not mask.any():
        return NOTHING_OUTLINED
    truth = criteria.heart.myocardium
    return MemberMeasure(dice(mask, truth), hd95_mm(mask, truth, criteria.spacing_mm), criteria.reasons(mask))


def apply_rules(measured: MeasuredSlice, seed: int) -> dict[str, RuleOutcome]:
    """The outcome of each of `RULE_NAMES` on one slice.

    A rule that finds no eligible member outlines nothing, and so does `best-validation` where its one member is
    ineligible: Dice 0, HD95 infinite, failed.

    `members-mean`: mean over *all* members, ineligible ones included with what they outlined: what to expect of a
    member taken blindly. `random-member` is one such draw, uniform over all members; an ineligible one gives no
    answer. The draw depends on `seed`, the slice's subject and its name alone, not on the order of slices.
    `oracle`: the best Dice, ties by id; its HD95 and failure are that member's.

    Args:
        measured: the slice.
        seed: of the draw.
    """
    ids = sorted(measured.measures)
    best = min(ids, key=lambda member_id: (-measured.measures[member_id].dice, member_id))
    chosen = {rule: select(measured.scores, rule).chosen for rule in RULES}
    chosen[RANDOM_MEMBER] = _drawn(measured, ids, seed)
    chosen[ORACLE] = best
    best_dice = measured.measures[best].dice
    outcomes = {}
    for rule in RULE_NAMES:
        if rule == MEMBERS_MEAN:
            outcomes[rule] = _mean_of_members(list(measured.measures.values()), best_dice)
            continue
        member_id = chosen[rule]
        measure = measured.measures[member_id] if member_id is not None else NOTHING_OUTLINED
        outcomes[rule] = RuleOutcome(
            rule, member_id, measure.dice, measure.hd95_mm, float(measure.failed), best_dice - measure.dice
        )
    return outcomes


def _drawn(measured: MeasuredSlice, ids: Sequence[str], seed: int) -> str | None:
    digest = hashlib.sha256(f"{seed}:{measured.subject}:{measured.name}".encode()).digest()
    member_id = ids[int(np.random.default_rng(int.from_bytes(digest[:8], "little")).integers(len(ids)))]
    ineligible = next(score.ineligible for score in measured.scores if score.member_id == member_id)
    return None if ineligible else member_id


def _mean_of_members(measures: Sequence[MemberMeasure], best_dice: float) -> RuleOutcome:
    mean_dice = float(np.mean([measure.dice for measure in measures]))
    return RuleOutcome(
        MEMBERS_MEAN,
        None,
        mean_dice,
        float(np.mean([measure.hd95_mm for measure in measures])),
        float(np.mean([measure.failed for measure in measures])),
        best_dice - mean_dice,
    )
