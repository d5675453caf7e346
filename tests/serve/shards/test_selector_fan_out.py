"""Fan-out and reduce: whatever a shard does, the result is what the answers that came allow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pool.analysis import MemberAnswer, MemberFailure, StudyAnalysis, conclude
from pool.results import maps_npz, members_npz, result_json
from pool.sweep import MemberMaps
from serve.errors import TooFewMembersError
from serve.shards.fan_out import MOST_DEATHS, ShardFailedError, ShardGoneError
from serve.shards.members import members_of_shard
from serve.shards.selector import Selector
from tests.serve.fakes import (
    SETTINGS,
    FakeShard,
    HangingShard,
    manifest_of,
    maps_of,
    prepared_slices,
    selector_of,
    series_of,
)


def analyse(selector: Selector, n_slices: int = 1) -> StudyAnalysis:
    return asyncio.run(selector.analyse(series_of(n_slices), prepared_slices(n_slices)))


def reasons(analysis: StudyAnalysis, index: int = 0) -> dict[str, str]:
    return {score.member_id: score.ineligible for score in analysis.slices[index].selection.scores}


def test_members_are_dealt_to_shards_in_the_manifests_order() -> None:
    manifest = manifest_of(5)
    assert [members_of_shard(manifest, k, 2) for k in range(2)] == [("m0", "m2", "m4"), ("m1", "m3")]
    assert sorted(sum((members_of_shard(manifest, k, 3) for k in range(3)), ())) == [f"m{i}" for i in range(5)]


@pytest.mark.parametrize("n_shards", [1, 2, 5])
def test_any_number_of_shards_gives_the_bytes_of_one_process(n_shards: int) -> None:
    expected = conclude(
        series_of(2),
        prepared_slices(2),
        [{f"m{i}": maps_of(f"m{i}") for i in range(5)}] * 2,
        manifest_of(5),
        SETTINGS,
    )
    found = analyse(selector_of([FakeShard() for _ in range(n_shards)], 5), n_slices=2)
    for as_bytes in (result_json, maps_npz, members_npz):
        assert as_bytes(found) == as_bytes(expected)


def test_a_slice_is_put_once_however_many_shards_there_are() -> None:
    put: list[str] = []
    shards = [FakeShard() for _ in range(4)]

    def put_and_count(prepared: object) -> str:
        put.append(prepared.name)  # type: ignore[attr-defined]
        return f"reference to {prepared.name}"  # type: ignore[attr-defined]

    analyse(selector_of(shards, 4, put=put_and_count), n_slices=3)
    assert sorted(put) == ["slice-0", "slice-1", "slice-2"]
    for shard in shards:
        assert sorted(reference for reference, _ in shard.calls) == [f"reference to slice-{i}" for i in range(3)]


def test_slices_in_flight_are_bounded() -> None:
    shard = FakeShard(waits_for=2)
    analyse(selector_of([shard], 2, slices_in_flight=2), n_slices=6)
    assert shard.most_at_once == 2


def test_ties_go_to_the_lower_id_whatever_order_answers_come_in() -> None:
    same = replace(maps_of("m0"))
    analysis = analyse(selector_of([FakeShard(lambda _: same), FakeShard(lambda _: same)], 4))
    assert analysis.slices[0].selection.chosen == "m0"


def test_a_shard_that_dies_is_asked_again_about_the_missing_members_only() -> None:
    shard = FakeShard(failures=[ShardFailedError("the shard died")], ends_after=2)
    analysis = analyse(selector_of([shard], 5))
    assert [ids for _, ids in shard.calls] == [("m0", "m1", "m2", "m3", "m4"), ("m2", "m3", "m4")]
    assert set(reasons(analysis).values()) == {""}


def test_a_shard_that_dies_twice_leaves_values_with_its_reason() -> None:
    died = ShardFailedError("the shard died")
    shards = [FakeShard(failures=[died, died]), FakeShard()]
    analysis = analyse(selector_of(shards, 4, least_members=2))
    assert reasons(analysis) == {"m0": "the shard died", "m1": "", "m2": "the shard died", "m3": ""}
    assert analysis.slices[0].selection.chosen == "m1"
    assert len(shards[0].calls) == 2


def test_an_exception_of_a_shard_is_named_but_not_quoted() -> None:
    shards = [FakeShard(failures=[RuntimeError("secret"), RuntimeError("secret")]), FakeShard()]
    analysis = analyse(selector_of(shards, 2, least_members=1))
    assert reasons(analysis) == {"m0": "the shard raised RuntimeError", "m1": ""}


def test_a_hanging_shard_costs_the_deadline_and_is_told_to_stop() -> None:
    hanging = HangingShard()
    analysis = analyse(selector_of([FakeShard(), hanging], 2, least_members=1, slice_deadline_s=0.05))
    assert reasons(analysis) == {"m0": "", "m1": "no answer within 0.05 s"}
    assert hanging.n_closed == 1


def test_a_shard_that_ends_early_counts_as_failed() -> None:
    class Early(FakeShard):
        async def ask(self, reference, settings, member_ids):  # type: ignore[no-untyped-def,override]
            self.calls.append((reference, member_ids))
            for member_id in member_ids:
                if member_id != "m2":
                    yield member_id, maps_of(member_id)

    shard = Early()
    analysis = analyse(selector_of([shard], 3, least_members=2))
    assert [ids for _, ids in shard.calls] == [("m0", "m1", "m2"), ("m2",), ("m2",)][: len(shard.calls)]
    assert reasons(analysis) == {"m0": "", "m1": "", "m2": "the shard ended without an answer"}


def test_an_answer_nobody_asked_for_is_not_taken() -> None:
    class Confused(FakeShard):
        async def ask(self, reference, settings, member_ids):  # type: ignore[no-untyped-def,override]
            yield "m1", maps_of("m1")

    analysis = analyse(selector_of([Confused(), FakeShard()], 2, least_members=1))
    assert reasons(analysis) == {"m0": "the shard answered for a member it was not asked about", "m1": ""}


def cut_short(maps: MemberMaps) -> MemberMaps:
    """Maps as only a faulty shard can make them: past the checks of the constructor."""
    object.__setattr__(maps, "uncertainty", maps.uncertainty[1:])
    return maps


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (maps_of("m0", image_px=8), "answered with a mask of shape (8, 8) for a slice of (16, 16)"),
        (
            cut_short(maps_of("m0")),
            "answered with a uncertainty of shape (15, 16) for a slice of (16, 16)",
        ),
        ("nonsense", "answered with str instead of maps"),
        (MemberFailure("raised OutOfMemoryError"), "raised OutOfMemoryError"),
    ],
)
def test_a_wrong_answer_is_a_failure_of_that_member_alone(answer: MemberAnswer, reason: str) -> None:
    shard = FakeShard(lambda member_id: answer if member_id == "m0" else maps_of(member_id))
    analysis = analyse(selector_of([shard], 3, least_members=2))
    assert reasons(analysis) == {"m0": reason, "m1": "", "m2": ""}
    assert len(shard.calls) == 1


def test_too_few_answers_are_refused_in_words() -> None:
    shard = FakeShard(lambda member_id: MemberFailure("raised X") if member_id == "m1" else maps_of(member_id))
    with pytest.raises(TooFewMembersError) as caught:
        analyse(selector_of([shard], 3))
    assert str(caught.value) == (
        "slice slice-0: needs the answers of at least 3 of 3 members; found 2; member m1: raised X. "
        "Send the study again, or lower least_members."
    )


def test_an_answer_from_fewer_members_says_so_in_the_result() -> None:
    shard = FakeShard(lambda member_id: MemberFailure("raised X") if member_id == "m1" else maps_of(member_id))
    analysis = analyse(selector_of([shard], 3, least_members=2))
    result = json.loads(result_json(analysis))
    assert result["few_answers"] == "2 of 3 members answered about slice slice-0"
    assert (result["slices"][0]["n_answers"], analysis.n_absent) == (2, 1)
    whole = analyse(selector_of([FakeShard()], 3))
    assert (json.loads(result_json(whole))["few_answers"], whole.n_absent) == (None, 0)


def test_a_shard_that_dies_again_and_again_is_asked_until_it_makes_no_headway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.shards.fan_out.FIRST_PAUSE_S", 0.001)
    died = ShardGoneError("the shard died")
    failed: list[int] = []

    class OneAnswerALife(FakeShard):
        """Answers once, then dies; the one after it answers the next."""

        async def ask(self, reference, settings, member_ids):  # type: ignore[no-untyped-def,override]
            self.calls.append((reference, member_ids))
            yield member_ids[0], maps_of(member_ids[0])
            raise died

    mortal = OneAnswerALife()
    selector = selector_of([mortal], 9)
    selector._on_failure = failed.append
    assert set(reasons(analyse(selector)).values()) == {""}
    assert len(mortal.calls) == 9
    assert failed == [0] * 8
    poisoned = FakeShard(failures=[died] * 20)
    assert set(reasons(analyse(selector_of([poisoned, FakeShard()], 2, least_members=1))).values()) == {
        "",
        "the shard died",
    }
    assert len(poisoned.calls) == MOST_DEATHS


def test_progress_counts_every_answer_once() -> None:
    seen: list[tuple[int, int]] = []
    shards: Sequence[FakeShard] = [FakeShard(failures=[ShardFailedError("died")], ends_after=1), FakeShard()]
    selector = selector_of(shards, 4)
    asyncio.run(selector.analyse(series_of(2), prepared_slices(2), lambda *progress: seen.append(progress)))
    assert seen == [(i, 8) for i in range(1, 9)]


def test_cancelling_a_study_closes_its_calls() -> None:
    hanging = HangingShard()

    async def cancel_soon() -> None:
        task = asyncio.create_task(selector_of([hanging], 1).analyse(series_of(1), prepared_slices(1)))
        while not hanging.calls:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_soon())
    assert hanging.n_closed == 1


def test_ready_names_every_shard_that_is_not() -> None:
    shards = [FakeShard(loads=("m0", "m3")), FakeShard(loads=("m4",)), HangingShard()]
    assert asyncio.run(selector_of(shards, 5).ready()) == [
        "shard 1 holds other members than the manifest deals to it",
        "shard 2 does not answer",
    ]
