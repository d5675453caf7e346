"""A race: who goes on, what fails on the way, and what is said of those that left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pool.answers import MemberFailure, RacedOut
from pool.errors import SettingsError
from pool.race_settings import RaceLevel, RaceSettings
from pool.selection import select
from pool.sweep import MemberMaps, SweepSettings
from tests.pool.races import IMAGE_PX, RACE, SWEEP, manifest_of, moments_of, race_of, run

# On 9 patches d is more than half above the best, on 25 patches c is more than a fifth above it.
FOUR = {
    "a": {9: 1.0, 25: 1.1, 81: 1.3},
    "b": {9: 1.2, 25: 1.0, 81: 1.2},
    "c": {9: 1.4, 25: 1.3, 81: 1.0},
    "d": {9: 1.6, 25: 0.1, 81: 0.1},
}


def test_members_near_the_best_go_on_and_the_least_full_u_pp_wins() -> None:
    race = race_of(FOUR)
    assert run(race, FOUR) == [(9, "abcd"), (25, "abc"), (81, "ab")]
    answers = race.answers()
    assert isinstance(answers["b"], MemberMaps)
    assert answers["b"].u_pp == pytest.approx(1.2)
    left = {key: (answer.n_patches, answer.u_pp_estimate) for key, answer in answers.items() if key in "cd"}  # type: ignore[union-attr]
    assert left == {"c": (25, pytest.approx(1.3)), "d": (9, pytest.approx(1.6))}
    record = race.record()
    assert record.n_members == {9: 4, 25: 3, 81: 2}
    assert record.n_passes == 4 * 9 + 3 * (25 - 9) + 2 * (81 - 25) == race.n_passes == race.n_passes_expected
    assert (record.n_passes_exhaustive, record.audit) == (4 * 81, None)


def test_a_lone_survivor_is_swept_in_full() -> None:
    u_pp = {"a": {9: 2.0, 25: 2.0, 81: 2.0}, "b": {9: 1.0, 25: 1.0, 81: 1.0}}
    race = race_of(u_pp)
    assert run(race, u_pp) == [(9, "ab"), (25, "b"), (81, "b")]
    assert isinstance(race.answers()["b"], MemberMaps)


def test_equal_members_go_on_together_whatever_the_share() -> None:
    same = {member_id: {9: 1.0, 25: 1.0, 81: 1.0} for member_id in "abc"}
    strict = RaceSettings((RaceLevel(9, 0.0, 0.01), RaceLevel(25, 0.0, 0.01)))
    assert run(race_of(same, strict), same) == [(9, "abc"), (25, "abc"), (81, "abc")]


def test_a_share_bounds_how_many_go_on() -> None:
    u_pp = {member_id: {9: 1 + 0.01 * i, 25: 1.0 + 0.01 * i, 81: 1.0} for i, member_id in enumerate("abcdefghij")}
    race = race_of(u_pp, RaceSettings((RaceLevel(9, 0.5, 0.6), RaceLevel(25, 0.5, 0.1))))
    assert run(race, u_pp) == [(9, "abcdefghij"), (25, "abcdef"), (81, "ab")]  # two at least


def test_when_the_best_fails_those_it_had_beaten_come_back() -> None:
    race = race_of(FOUR)
    assert run(race, {**FOUR, "c": {9: 1.7, 25: 9, 81: 9}}, {("a", 25): "raised OutOfMemoryError"}) == [
        (9, "abcd"),  # c and d are more than half above a
        (25, "ab"),  # a fails: against b, both are within the margin
        (25, "cd"),
        (81, "d"),
    ]
    assert race.answers()["a"] == MemberFailure("raised OutOfMemoryError")
    assert race.record().n_members == {9: 4, 25: 3, 81: 1}


def test_members_that_cannot_be_chosen_do_not_run() -> None:
    race = race_of(FOUR)
    race.note("a", moments_of(0.1, 9, n_myo=0))
    race.note("b", MemberFailure("the shard died"))
    lost = moments_of(1.0, 9)
    race.note("c", replace(lost, p2_sum=np.full_like(lost.p2_sum, np.nan)))
    assert race.next_round() is not None
    assert race.next_round().member_ids == ("d",)  # type: ignore[union-attr]
    assert run(race, FOUR) == [(9, "d"), (25, "d"), (81, "d")]


def test_nobody_left_is_an_end_too() -> None:
    race = race_of(FOUR)
    assert run(race, FOUR, {(member_id, 9): "died" for member_id in FOUR}) == [(9, "abcd")]
    assert set(race.answers().values()) == {MemberFailure("died")}
    assert (race.record().n_passes, race.n_passes_expected) == (0, 0)


def test_an_audit_says_what_the_race_missed_and_changes_nothing_else() -> None:
    plain, audited = race_of(FOUR), race_of(FOUR, audit=True)
    run(plain, FOUR)
    assert run(audited, FOUR)[3:] == [(25, "d"), (81, "cd")]
    record = audited.record()
    assert record.audit is not None
    assert (record.audit.chosen, record.audit.same) == ("d", False)
    assert (record.audit.u_pp, record.audit.u_pp_excess) == pytest.approx((0.1, 11.0))
    assert replace(record, audit=None) == plain.record()
    assert isinstance(audited.answers()["d"], RacedOut)
    assert audited.n_passes == audited.n_passes_expected == 4 * 81
    agreed = {"a": {9: 1.0, 25: 1.0, 81: 1.0}, "b": {9: 9.0, 25: 9.0, 81: 9.0}}
    race = race_of(agreed, audit=True)
    run(race, agreed)
    audit = race.record().audit
    assert audit is not None
    assert (audit.chosen, audit.same, audit.u_pp_excess) == ("a", True, 0.0)


def test_the_rule_believes_the_least_of_those_swept_in_full_alone() -> None:
    from pool.answers import native_mask, score_members
    from tests.pool.races import prepared_slice

    race = race_of(FOUR)
    run(race, FOUR)
    answers = race.answers()
    masks = {key: native_mask(answer, prepared_slice().way_back) for key, answer in answers.items()}  # type: ignore[arg-type]
    selection = select(score_members(answers, manifest_of(*FOUR), 81, masks), "min-u_pp-race")
    assert selection.chosen == "b"
    assert selection.reason == "least u_pp of 2 members swept in full; 2 left the race before"
    seen = {s.member_id: (s.u_pp is None, s.u_pp_estimate is None, s.n_patches) for s in selection.scores}
    assert seen == {"a": (False, True, 81), "b": (False, True, 81), "c": (True, False, 25), "d": (True, False, 9)}


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ((), "race: needs at least one level; found none"),
        ((RaceLevel(41, 0.1), RaceLevel(41, 0.1)), "must exceed the 41 of the level before; found 41"),
        ((RaceLevel(25, -0.1),), "margin must be a number from 0 on; found -0.1"),
        ((RaceLevel(25, float("nan")),), "margin must be a number from 0 on; found nan"),
        ((RaceLevel(25, 0.1, of_seed=-1),), "of_seed must be a number from 0 on; found -1"),
        ((RaceLevel(25, 0.1, 0.0),), "share must be above 0 and at most 1; found 0.0"),
    ],
)
def test_settings_that_make_no_race_are_refused(levels: tuple[RaceLevel, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        RaceSettings(levels)


def test_a_race_fits_its_sweep() -> None:
    RACE.check_sweep(SWEEP, IMAGE_PX)
    with pytest.raises(SettingsError, match="race: the first level must hold the mask's 25 patches; found 9"):
        RACE.check_sweep(SweepSettings(8, 1, 2), IMAGE_PX)
    with pytest.raises(
        SettingsError, match="race: the last level must be less than the sweep's 25; found 25. Give levels"
    ):
        RACE.check_sweep(SweepSettings(8, 2, 4), IMAGE_PX)


def test_a_round_ends_when_all_have_answered_in_any_order() -> None:
    """Who catches up tells of its relatives; nothing is decided before all who were asked have answered."""
    u_pp = {name: {9: first, 25: 1.0, 81: 1.0} for name, first in zip("abcd", (1.0, 1.01, 1.02, 1.03))}
    race = race_of(u_pp, RaceSettings((RaceLevel(9, 0.5, 0.5), RaceLevel(25, 0.5, 0.5))))
    for n_patches, everyone in ((9, "abcd"), (25, "ab"), (81, "ab")):
        for i, member_id in enumerate(reversed(everyone)):
            current = race.next_round()
            assert current is not None
            assert (current.n_patches, "".join(current.member_ids)) == (n_patches, everyone[: len(everyone) - i])
            assert race.n_passes_expected >= race.n_passes + 81 - n_patches
            race.note(member_id, moments_of(u_pp[member_id][n_patches], n_patches))
    assert race.next_round() is None
