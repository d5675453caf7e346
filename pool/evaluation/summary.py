"""From slices to a set: what each rule and each member reached over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pool.errors import SettingsError
from pool.evaluation.rules import RULE_NAMES, MeasuredSlice, RuleOutcome, apply_rules


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (divided by n - 1)."""

    mean: float
    sd: float | None
    """None for a single value."""

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Spread of some values; None without any."""
        if not values:
            return None
        return cls(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


@dataclass(frozen=True)
class Accuracy:
    """Accuracy over the slices of a set. HD95 is infinite where nothing is outlined, and so is then its mean."""

    n_slices: int
    dice: Spread
    least_dice: float
    mean_hd95_mm: float
    median_hd95_mm: float
    most_hd95_mm: float
    n_failed: float
    """Failed slices; for `members-mean` the number to expect, not a whole one."""
    n_without_outline: int
    """Slices with nothing outlined (for `members-mean`: by at least one member); they are among the failed."""

    @classmethod
    def of(cls, dices: Sequence[float], hd95_mm: Sequence[float], failed: Sequence[float]) -> Accuracy:
        """Accuracy from one value a slice, of at least one slice."""
        dice = Spread.of(dices)
        assert dice is not None  # a set has slices
        return cls(
            len(dices),
            dice,
            min(dices),
            float(np.mean(hd95_mm)),
            float(np.median(hd95_mm)),
            max(hd95_mm),
            float(sum(failed)),
            sum(map(math.isinf, hd95_mm)),
        )


@dataclass(frozen=True)
class MemberSummary:
    """One member over a set."""

    member_id: str
    accuracy: Accuracy
    n_ineligible: int
    """Slices on which no rule may choose it."""
    u_pp: Spread | None
    """Over the slices on which it is eligible; None where there are none."""
    u_tot: Spread | None
    """Likewise."""
    n_chosen: int
    """Slices on which `min-u_pp` believed it."""


@dataclass(frozen=True, eq=False)
class EvaluatedSet:
    """All slices of a set with the outcome of every rule.

    Raises:
        SettingsError: no slices, or slices of different members.
    """

    name: str
    slices: tuple[MeasuredSlice, ...]
    outcomes: tuple[dict[str, RuleOutcome], ...]
    """By rule, one mapping a slice, in the order of `slices`."""

    def __post_init__(self) -> None:
        if not self.slices:
            raise SettingsError(f"set {self.name}", "needs at least one slice", "none")
        if len({frozenset(item.measures) for item in self.slices}) > 1:
            raise SettingsError(f"set {self.name}", "every slice must be measured with the same members")

    @classmethod
    def of(cls, name: str, slices: Sequence[MeasuredSlice], seed: int) -> EvaluatedSet:
        """Apply every rule to every slice; `seed` draws `random-member`."""
        return cls(name, tuple(slices), tuple(apply_rules(item, seed) for item in slices))

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subject of every slice, with the set's name: unique over several sets."""
        return tuple(f"{self.name}/{item.subject}" for item in self.slices)

    @property
    def n_subjects(self) -> int:
        """Number of different subjects."""
        return len(set(self.subjects))

    @property
    def size_in_words(self) -> str:
        """How many slices of how many subjects."""
        n_slices, n_subjects = len(self.slices), self.n_subjects
        return f"{n_slices} slice{'s' * (n_slices > 1)} of {n_subjects} subject{'s' * (n_subjects > 1)}"

    @property
    def member_ids(self) -> tuple[str, ...]:
        """All members, by id."""
        return tuple(sorted(self.slices[0].measures))

    def of_rule(self, rule: str) -> tuple[RuleOutcome, ...]:
        """Outcomes of one rule, one a slice."""
        return tuple(by_rule[rule] for by_rule in self.outcomes)

    def rule_accuracy(self, rule: str) -> Accuracy:
        """Accuracy of one rule."""
        found = self.of_rule(rule)
        return Accuracy.of([o.dice for o in found], [o.hd95_mm for o in found], [o.failed for o in found])

    def mean_regret(self, rule: str) -> float:
        """Mean Dice that the oracle has more than a rule."""
        return float(np.mean([outcome.regret for outcome in self.of_rule(rule)]))

    def member_summary(self, member_id: str) -> MemberSummary:
        """One member over the set."""
        found = [item.measures[member_id] for item in self.slices]
        scores = [next(s for s in item.scores if s.member_id == member_id) for item in self.slices]
        eligible = [score for score in scores if not score.ineligible]
        return MemberSummary(
            member_id,
            Accuracy.of([m.dice for m in found], [m.hd95_mm for m in found], [float(m.failed) for m in found]),
            len(scores) - len(eligible),
            Spread.of([score.u_pp for score in eligible if score.u_pp is not None]),
            Spread.of([score.u_tot for score in eligible if score.u_tot is not None]),
            sum(outcome.chosen == member_id for outcome in self.of_rule(RULE_NAMES[0])),
        )
