"""A race over shards: pruned over all of them between rounds, and nothing lost when one dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pool.analysis import StudyAnalysis, conclude_races
from pool.answers import MemberFailure
from pool.moments import Moments
from pool.race import SliceRace
from pool.results import maps_npz, members_npz, result_json
from pool.sweep import SweepSettings
from serve.shards.fan_out import ShardFailedError
from serve.shards.selector import Selector
from tests.pool.races import RACE, SWEEP, moments_of, run
from tests.serve.fakes import SETTINGS, RacingShard, manifest_of, prepared_slices, selector_of, series_of

# On 9 patches m3 is more than half above the best, on 25 patches m2 is more than a fifth above it.
FOUR = {
    "m0": {9: 1.0, 25: 1.1, 81: 1.3},
    "m1": {9: 1.2, 25: 1.0, 81: 1.2},
    "m2": {9: 1.4, 25: 1.3, 81: 1.0},
    "m3": {9: 1.6, 25: 0.9, 81: 0.9},
}
RACING = replace(SETTINGS, rule="min-u_pp-race", race=RACE)


def selector(shards: Sequence[RacingShard], least_members: int = 4, **limits: Any) -> Selector:
    return selector_of(shards, 4, least_members, settings=RACING, **limits)


def analyse(selector: Selector, n_slices: int = 1) -> StudyAnalysis:
    return asyncio.run(selector.analyse(series_of(n_slices), prepared_slices(n_slices)))


@pytest.mark.parametrize("n_shards", [1, 2, 3, 4])
def test_any_number_of_shards_gives_the_bytes_of_one_process(n_shards: int) -> None:
    races = [SliceRace(item, manifest_of(4), SWEEP, RACE) for item in prepared_slices(2)]
    assert [run(race, FOUR)[-1] for race in races] == [(81, "m0m1")] * 2
    expected = conclude_races(series_of(2), prepared_slices(2), races, manifest_of(4), RACING)
    found = analyse(selector([RacingShard(FOUR) for _ in range(n_shards)]), n_slices=2)
    assert found.slices[0].selection.chosen == "m1"
    for as_bytes in (result_json, maps_npz, members_npz):
        assert as_bytes(found) == as_bytes(expected)


def test_a_round_goes_to_the_shards_of_those_still_in_the_race_with_what_they_have() -> None:
    even, odd = RacingShard(FOUR), RacingShard(FOUR)
    analyse(selector([even, odd]))
    assert even.rounds == [(9, {"m0": None, "m2": None}), (25, {"m0": 9, "m2": 9}), (81, {"m0": 25})]
    assert odd.rounds == [(9, {"m1": None, "m3": None}), (25, {"m1": 9}), (81, {"m1": 25})]


def test_a_shard_that_dies_in_a_race_goes_on_where_it_was() -> None:
    died = ShardFailedError("the shard died")
    shard = RacingShard(FOUR, failures=[None, died], ends_after=1)
    found = analyse(selector([shard]))
    assert shard.rounds[1:3] == [(25, {"m0": 9, "m1": 9, "m2": 9}), (25, {"m1": 9, "m2": 9})]
    assert result_json(found) == result_json(analyse(selector([RacingShard(FOUR)])))


def test_members_of_a_shard_that_stays_dead_fail_and_others_come_back() -> None:
    died = ShardFailedError("the shard died")
    even, odd = RacingShard(FOUR, failures=[None, died, died]), RacingShard(FOUR)
    selection = analyse(selector([even, odd], least_members=2)).slices[0].selection
    assert odd.rounds[1:] == [(25, {"m1": 9}), (25, {"m3": 9}), (81, {"m1": 25, "m3": 25})]
    assert selection.chosen == "m3"
    assert {s.member_id: s.ineligible for s in selection.scores if s.ineligible} == dict.fromkeys(
        ("m0", "m2"), "the shard died"
    )


def test_moments_of_other_patches_are_a_failure_of_that_member_alone() -> None:
    class Confused(RacingShard):
        async def refine(
            self, reference: Any, settings: SweepSettings, n_patches: int, starts: Mapping[str, Moments | None]
        ) -> AsyncGenerator[tuple[str, Moments | MemberFailure], None]:
            async for member_id, answer in super().refine(reference, settings, n_patches, starts):
                yield member_id, moments_of(1.0, 9) if (member_id, n_patches) == ("m0", 25) else answer

    selection = analyse(selector([Confused(FOUR)], least_members=3)).slices[0].selection
    assert selection.score_of("m0").ineligible == "answered with moments of 9 patches of stride 1 instead of 25 of 1"
    assert selection.chosen == "m3"


def test_progress_is_the_share_of_patch_passes_in_sweeps_and_never_falls() -> None:
    seen: list[tuple[int, int]] = []
    racing = selector([RacingShard(FOUR), RacingShard(FOUR)])
    asyncio.run(racing.analyse(series_of(2), prepared_slices(2), lambda *progress: seen.append(progress)))
    assert seen[-1] == (8, 8)
    assert len(seen) == 2 * (4 + 3 + 2)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
