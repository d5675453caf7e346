from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pool.errors import SettingsError
from pool.evaluation.rules import NOTHING_OUTLINED, MemberMeasure
from pool.evaluation.statistics import compare_rules, failure_tests, t_tests
from pool.evaluation.summary import EvaluatedSet
from tests.pool.evaluation.hearts import measured

FIRST = [0.90, 0.88, 0.86, 0.92, 0.91, 0.83]
SECOND = [0.85, 0.86, 0.80, 0.90, 0.92, 0.79]
SUBJECTS = ["1", "1", "1", "2", "2", "3"]


def test_the_unpaired_test_is_students_formula() -> None:
    found = t_tests(FIRST, SECOND, SUBJECTS)
    a, b = np.array(FIRST), np.array(SECOND)
    pooled = (a.var(ddof=1) + b.var(ddof=1)) / 2  # equal numbers
    t = (a.mean() - b.mean()) / math.sqrt(pooled * 2 / 6)
    assert found.difference == pytest.approx(0.03)
    assert found.p_unpaired == pytest.approx(2 * stats.t.sf(abs(t), df=10))


def test_the_paired_test_takes_one_value_a_subject() -> None:
    found = t_tests(FIRST, SECOND, SUBJECTS)
    a, b = [0.88, 0.915, 0.83], [0.51 / 0.6 - 0.85 + 2.51 / 3, 0.91, 0.79]
    assert found.p_paired_subjects == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_equal_values_differ_by_nothing() -> None:
    found = t_tests(FIRST, FIRST, SUBJECTS)
    assert (found.difference, found.p_unpaired, found.p_paired_subjects, found.remark) == (0.0, 1.0, 1.0, "")


@pytest.mark.parametrize(
    ("first", "second", "subjects", "remark", "unpaired_known"),
    [
        ([1.0, math.inf], [2.0, 3.0], ["1", "2"], "1 of 2 slices without an outline", False),
        ([1.0], [2.0], ["1"], "too few different values for a t test", False),
        ([1.0, 1.0], [2.0, 2.0], ["1", "2"], "too few different values for a t test", False),
        ([1.0, 2.0], [2.0, 2.5], ["1", "1"], "one subject is too few for a paired test", True),
        ([1.0, 2.0], [2.0, 3.0], ["1", "2"], "the same difference in every subject", True),
    ],
)
def test_a_test_that_cannot_be_made_says_why(
    first: list[float], second: list[float], subjects: list[str], remark: str, unpaired_known: bool
) -> None:
    found = t_tests(first, second, subjects)
    assert (found.remark, found.p_paired_subjects) == (remark, None)
    assert (found.p_unpaired is not None) == unpaired_known


def test_fisher_as_for_the_lady_tasting_tea_and_as_scipy() -> None:
    first, second = [True, True, True, False], [True, False, False, False]
    assert failure_tests(first, second).p_fisher == pytest.approx(34 / 70)  # (1 + 16 + 16 + 1) of C(8, 4) tables
    n = 210  # 4.3 % and 17.1 % of the external data's 210 series
    few, many = [i < 9 for i in range(n)], [i < 36 for i in range(n)]
    found = failure_tests(few, many)
    assert found.n_failed == (9, 36)
    assert found.p_fisher == pytest.approx(stats.fisher_exact(np.array([[9, 201], [36, 174]])).pvalue)
    assert found.p_fisher < 0.0005


def test_mcnemar_counts_slices_on_which_one_alone_failed() -> None:
    both, only_second = [True] * 4, [False] * 6
    found = failure_tests(both + only_second, [True] * 10)
    assert found.p_mcnemar == pytest.approx(2 * 0.5**6)
    assert failure_tests(both, both).p_mcnemar == 1.0


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(SettingsError, match="t test: needs a value of both rules and a subject for every slice"):
        t_tests([1.0], [1.0, 2.0], ["1"])
    with pytest.raises(SettingsError, match="failures: need both rules' result for every slice; found 1 and 2"):
        failure_tests([True], [True, False])


def test_several_sets_are_compared_together_and_their_subjects_kept_apart() -> None:
    good, bad = MemberMeasure(0.9, 2.0, ()), MemberMeasure(0.5, 9.0, ("gap",))

    def one(name: str) -> EvaluatedSet:
        rows = {"a": (0.9, 0.02, 2.0, bad), "b": (0.8, 0.01, 1.0, good)}
        return EvaluatedSet.of(name, [measured(f"{i}", rows, subject=f"{i}") for i in range(3)], seed=1)

    found = compare_rules("both", [one("exD-1"), one("exD-2")])
    assert (found.rule, found.against) == ("min-u_pp", "best-validation")
    assert (found.n_slices, found.n_subjects) == (6, 6)
    assert found.dice.difference == pytest.approx(0.4)
    assert found.failures.n_failed == (0, 6)
    assert found.failures.p_fisher == pytest.approx(2 / math.comb(12, 6))


def test_missing_outlines_stop_the_test_of_distances_but_not_of_dice() -> None:
    rows = {"a": (0.9, None, None, NOTHING_OUTLINED), "b": (0.8, 0.01, 1.0, MemberMeasure(0.9, 2.0, ()))}
    slices = [measured(f"{i}", rows, subject=f"{i}") for i in range(3)]
    found = compare_rules("set", [EvaluatedSet.of("set", slices, seed=1)])
    assert found.hd95_mm.remark == "3 of 3 slices without an outline"
    assert found.dice.difference == pytest.approx(0.9)
    assert found.failures.n_failed == (0, 3)
