from __future__ import annotations

import math

import numpy as np
import pytest

from pool.errors import SettingsError
from pool.evaluation.rules import NOTHING_OUTLINED, RULE_NAMES, MeasuredSlice, MemberMeasure, apply_rules, measure_mask
from pool.evaluation.summary import EvaluatedSet
from tests.pool.evaluation.hearts import RADIUS, criteria, heart_labels, measured

GOOD = MemberMeasure(0.9, 2.0, ())
FAIR = MemberMeasure(0.8, 3.0, ())
BAD = MemberMeasure(0.4, 12.0, ("gap of 20 degrees in inferior",))
#              validation, U_pp, U_tot
ROWS = {"a": (0.95, 0.03, 1.0, FAIR), "b": (0.90, 0.01, 3.0, GOOD), "c": (0.85, 0.02, 2.0, BAD)}


def test_every_rule_gets_the_numbers_of_its_member() -> None:
    outcomes = apply_rules(measured("one", ROWS), seed=1)
    assert tuple(outcomes) == RULE_NAMES
    found = {rule: (o.chosen, o.dice, o.hd95_mm, o.failed, round(o.regret, 6)) for rule, o in outcomes.items()}
    assert found["min-u_pp"] == ("b", 0.9, 2.0, 0.0, 0.0)
    assert found["min-u_tot"] == ("a", 0.8, 3.0, 0.0, 0.1)
    assert found["best-validation"] == ("a", 0.8, 3.0, 0.0, 0.1)
    assert found["oracle"] == ("b", 0.9, 2.0, 0.0, 0.0)
    assert found["members-mean"] == (
        None,
        pytest.approx(0.7),
        pytest.approx(17 / 3),
        pytest.approx(1 / 3),
        pytest.approx(0.2),
    )


def test_a_rule_without_an_eligible_member_outlines_nothing() -> None:
    nothing = {member_id: (row[0], None, None, NOTHING_OUTLINED) for member_id, row in ROWS.items()}
    for outcome in apply_rules(measured("empty", nothing), seed=1).values():
        assert (outcome.dice, outcome.hd95_mm, outcome.failed, outcome.regret) == (0.0, math.inf, 1.0, 0.0)


def test_the_established_member_is_not_replaced_where_it_is_ineligible() -> None:
    rows = ROWS | {"a": (0.95, None, None, NOTHING_OUTLINED)}
    outcomes = apply_rules(measured("one", rows), seed=1)
    established = outcomes["best-validation"]
    assert (established.chosen, established.dice, established.hd95_mm, established.failed) == (None, 0.0, math.inf, 1.0)
    assert established.regret == pytest.approx(0.9)
    mean = outcomes["members-mean"]
    assert (mean.dice, mean.hd95_mm) == (pytest.approx(1.3 / 3), math.inf)
    assert mean.failed == pytest.approx(2 / 3)


def test_equal_oracles_are_told_apart_by_id() -> None:
    rows = {"z": (0.9, 0.1, 1.0, GOOD), "y": (0.8, 0.2, 2.0, GOOD)}
    assert apply_rules(measured("one", rows), seed=1)["oracle"].chosen == "y"


def test_a_draw_depends_on_seed_and_slice_alone_and_meets_every_member() -> None:
    def drawn(n: int, seed: int) -> str | None:
        return apply_rules(measured(f"slice-{n}", ROWS), seed)["random-member"].chosen

    first = [drawn(n, 1) for n in range(60)]
    assert [drawn(n, 1) for n in reversed(range(60))] == first[::-1]
    assert [drawn(n, 2) for n in range(60)] != first
    counts = {member_id: first.count(member_id) for member_id in ROWS}
    assert min(counts.values()) > 8
    assert sum(counts.values()) == 60


def test_a_drawn_member_that_is_ineligible_outlines_nothing() -> None:
    rows = {"a": (0.9, None, None, NOTHING_OUTLINED)}
    assert apply_rules(measured("one", rows), seed=1)["random-member"].chosen is None


def test_measures_of_masks() -> None:
    judge = criteria(heart_labels())
    truth = judge.heart.myocardium
    assert measure_mask(truth, judge) == MemberMeasure(1.0, 0.0, ())
    assert measure_mask(np.zeros_like(truth), judge) == NOTHING_OUTLINED
    thick = measure_mask(RADIUS < 23, judge)
    assert thick.failed
    assert 0.7 < thick.dice < 0.75  # 2 x 960 / (960 + 1660) pixels


def test_a_slice_needs_a_measure_for_every_score() -> None:
    one = measured("one", ROWS)
    with pytest.raises(SettingsError, match="slice one: needs members, with a measure for each; found 3 scores, 2"):
        MeasuredSlice("one", "1", "mid", one.scores, {"a": GOOD, "b": GOOD})


def test_a_set_sums_up_rules_and_members() -> None:
    second = {"a": (0.95, 0.05, 1.0, GOOD), "b": (0.90, None, None, NOTHING_OUTLINED), "c": (0.85, 0.04, 2.0, FAIR)}
    found = EvaluatedSet.of("set", [measured("one", ROWS, "1"), measured("two", second, "2")], seed=1)
    assert found.subjects == ("set/1", "set/2")
    accuracy = found.rule_accuracy("min-u_pp")  # b, then c
    assert (accuracy.n_slices, accuracy.dice.mean, accuracy.least_dice) == (2, pytest.approx(0.85), 0.8)
    assert accuracy.dice.sd == pytest.approx(0.1 / math.sqrt(2))
    assert (accuracy.mean_hd95_mm, accuracy.median_hd95_mm, accuracy.most_hd95_mm) == (2.5, 2.5, 3.0)
    assert (accuracy.n_failed, accuracy.n_without_outline) == (0.0, 0)
    assert found.mean_regret("min-u_pp") == pytest.approx(0.05)
    mean = found.rule_accuracy("members-mean")
    assert (mean.mean_hd95_mm, mean.n_without_outline) == (math.inf, 1)
    assert mean.n_failed == pytest.approx(2 / 3)

    b = found.member_summary("b")
    assert (b.n_chosen, b.n_ineligible, b.accuracy.dice.mean, b.accuracy.mean_hd95_mm) == (1, 1, 0.45, math.inf)
    assert (b.u_pp.mean, b.u_pp.sd) == (0.01, None)  # type: ignore[union-attr]
    a = found.member_summary("a")
    assert (a.u_pp.mean, a.u_tot.mean) == (pytest.approx(0.04), 1.0)  # type: ignore[union-attr]


def test_sets_without_slices_or_of_different_members_are_refused() -> None:
    with pytest.raises(SettingsError, match="set none: needs at least one slice; found none"):
        EvaluatedSet.of("none", [], seed=1)
    other = measured("two", {"d": ROWS["a"]})
    with pytest.raises(SettingsError, match="set mixed: every slice must be measured with the same members"):
        EvaluatedSet.of("mixed", [measured("one", ROWS), other], seed=1)
