"""Whether one selection rule did better than another: the paper's tests, and beside each one that knows the pairs.

Yalcinkaya et al. 2024, Methods ("Performance Evaluation"): unpaired Student t tests of Dice and HD95, Fisher's exact
test of the number of failed slices, two-tailed, significant below 0.05. They take slices as independent and the two
rules' results as those of different patients. Neither holds: both rules see the same slices, and a subject has three
of them. So beside each stands a test that knows better: a paired t test of the subjects' means, and McNemar's exact
test (a binomial test of the slices on which just one rule failed; three slices of a subject still count as
independent). The paper's tests are for comparison with the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pool.errors import SettingsError
from pool.evaluation.summary import EvaluatedSet

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class TTests:
    """Two-tailed p values of a difference in means; None where a test cannot be made, with the reason."""

    difference: float | None
    """Mean of the first less mean of the second; None where a value is infinite."""
    p_unpaired: float | None
    """Student's t test of all slices, equal variances: the paper's."""
    p_paired_subjects: float | None
    """Paired t test of the subjects' means."""
    remark: str = ""
    """Why a p value is missing."""


@dataclass(frozen=True)
class FailureTests:
    """Two-tailed p values of a difference in the number of failed slices."""

    n_failed: tuple[int, int]
    """Of the first rule, of the second."""
    p_fisher: float
    """Fisher's exact test: the paper's."""
    p_mcnemar: float
    """McNemar's exact test of the slices on which just one of the two failed; 1 where there are none."""


@dataclass(frozen=True)
class RuleComparison:
    """One rule against another over one or several sets."""

    name: str
    """Of the set or sets."""
    rule: str
    against: str
    n_slices: int
    n_subjects: int
    dice: TTests
    hd95_mm: TTests
    failures: FailureTests


def t_tests(first: Sequence[float], second: Sequence[float], subjects: Sequence[str]) -> TTests:
    """Compare two rules' values, one a slice.

    Edge cases: values that are the same slice by slice differ by nothing, p = 1. An infinite HD95 (nothing outlined)
    has no mean: no test, the remark says so, and the failures tell.

    Args:
        first: of the first rule.
        second: of the other, for the same slices.
        subjects: of the slices.

    Raises:
        SettingsError: lengths that differ, or no slices.
    """
    if not len(first) == len(second) == len(subjects) or not len(first):
        found = f"{len(first)}, {len(second)} and {len(subjects)}"
        raise SettingsError("t test", "needs a value of both rules and a subject for every slice", found)
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if n_infinite := int(np.count_nonzero(~np.isfinite(a) | ~np.isfinite(b))):
        return TTests(None, None, None, f"{n_infinite} of {len(a)} slices without an outline")
    difference = float(a.mean() - b.mean())
    if np.array_equal(a, b):
        return TTests(difference, 1.0, 1.0)
    ids = np.unique(np.asarray(subjects), return_inverse=True)[1]
    n_each = np.bincount(ids)
    of_subjects = np.bincount(ids, weights=a - b) / n_each
    if len(a) < 2 or (_constant(a) and _constant(b)):
        return TTests(difference, None, None, "too few different values for a t test")
    unpaired = float(stats.ttest_ind(a, b).pvalue)
    if len(of_subjects) < 2:
        return TTests(difference, unpaired, None, "one subject is too few for a paired test")
    if _constant(of_subjects):
        return TTests(difference, unpaired, None, "the same difference in every subject")
    return TTests(difference, unpaired, float(stats.ttest_1samp(of_subjects, 0.0).pvalue))


def _constant(values: np.ndarray) -> bool:
    """Whether all values are the same but for rounding; a t test of such values would judge the rounding."""
    return bool(np.ptp(values) <= 1e-9 * max(1.0, float(np.abs(values).max())))


def failure_tests(first: Sequence[bool], second: Sequence[bool]) -> FailureTests:
    """Compare which slices failed under two rules.

    Raises:
        SettingsError: lengths that differ.
    """
    if len(first) != len(second):
        raise SettingsError("failures", "need both rules' result for every slice", f"{len(first)} and {len(second)}")
    n = len(first)
    n_failed = (sum(map(bool, first)), sum(map(bool, second)))
    only_first = sum(bool(a and not b) for a, b in zip(first, second))
    only_second = sum(bool(b and not a) for a, b in zip(first, second))
    fisher = float(stats.fisher_exact(np.array([[k, n - k] for k in n_failed])).pvalue)
    one_alone = only_first + only_second
    mcnemar = float(stats.binomtest(only_first, one_alone, 0.5).pvalue) if one_alone else 1.0
    return FailureTests(n_failed, fisher, mcnemar)


def compare_rules(
    name: str, sets: Sequence[EvaluatedSet], rule: str = "min-u_pp", against: str = "best-validation"
) -> RuleComparison:
    """One rule against another over all slices of some sets; both must be rules that choose one member."""
    first = [outcome for item in sets for outcome in item.of_rule(rule)]
    second = [outcome for item in sets for outcome in item.of_rule(against)]
    subjects = [subject for item in sets for subject in item.subjects]
    return RuleComparison(
        name,
        rule,
        against,
        len(first),
        len(set(subjects)),
        t_tests([o.dice for o in first], [o.dice for o in second], subjects),
        t_tests([o.hd95_mm for o in first], [o.hd95_mm for o in second], subjects),
        failure_tests([o.failed > 0 for o in first], [o.failed > 0 for o in second]),
    )
