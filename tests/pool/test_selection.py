import dataclasses

import numpy as np
import pytest

from pool.errors import SettingsError
from pool.selection import MemberScore, select
from pool.sweep import MemberMaps

SCORES = [
    MemberScore("c", 0.95, u_pp=0.20, u_tot=10.0, n_myo=50),
    MemberScore("a", 0.90, u_pp=0.10, u_tot=30.0, n_myo=300),
    MemberScore("b", 0.99, ineligible="the mask is empty"),
    MemberScore("d", 0.91, u_pp=0.10, u_tot=30.0, n_myo=300),
]


def test_each_rule_believes_another_member() -> None:
    assert select(SCORES, "min-u_pp").chosen == "a"  # ties with d: by id
    assert select(SCORES, "min-u_tot").chosen == "c"


def test_the_order_of_the_answers_does_not_matter() -> None:
    assert select(SCORES, "min-u_pp") == select(SCORES[::-1], "min-u_pp")


def test_the_established_member_is_not_replaced_where_it_fails() -> None:
    selection = select(SCORES, "best-validation")
    assert selection.chosen is None
    assert selection.reason == "the member with the best validation Dice, b, is ineligible: the mask is empty"
    healthy = [score for score in SCORES if score.member_id != "b"]
    assert select(healthy, "best-validation").chosen == "c"


def test_no_eligible_member_is_an_answer_with_a_reason() -> None:
    selection = select([dataclasses.replace(score, ineligible="timed out") for score in SCORES])
    assert (selection.chosen, selection.reason) == (None, "none of 4 members is eligible")
    assert [score.ineligible for score in selection.scores] == ["timed out"] * 4


def test_unknown_rules_are_refused_with_the_known_ones() -> None:
    with pytest.raises(
        SettingsError, match="must be one of min-u_pp, min-u_tot, best-validation, min-u_pp-race; found 'max'"
    ):
        select(SCORES, "max")


def test_scores_say_why_a_member_is_ineligible() -> None:
    maps = MemberMaps(np.ones((2, 2), bool), np.ones((3, 2, 2), np.float32), np.zeros((2, 2), np.float32), 2.0, 4)
    assert MemberScore.from_maps("m", 0.9, maps) == MemberScore("m", 0.9, 0.5, 2.0, 4)
    assert MemberScore.from_maps("m", 0.9, dataclasses.replace(maps, n_myo=0)).ineligible == "the mask is empty"
    assert MemberScore.from_maps("m", 0.9, dataclasses.replace(maps, u_tot=float("nan"))).ineligible == (
        "the U-map is not finite"
    )
    assert MemberScore.from_maps("m", 0.9, None, "shard 1 died").ineligible == "shard 1 died"
