"""A shard: verified members that answer one by one, stop when nobody listens, and fail alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pool.analysis import MemberAnswer, MemberFailure
from pool.errors import PoolFolderError, WeightsHashError
from pool.manifest import PoolManifest
from pool.member import Member, Pool
from pool.moments import Moments
from pool.preprocess import PreparedSlice, prepare
from pool.sweep import MemberMaps, SweepSettings
from serve.shards.members import ShardWorker
from tests.samples import bolus_series, tiny_pool

COARSE, FINE = SweepSettings(stride_px=16), SweepSettings(stride_px=8)


@pytest.fixture(autouse=True)
def _torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pool_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    tiny_pool(folder, n_members=3)
    return folder


@pytest.fixture(scope="module")
def prepared() -> PreparedSlice:
    return prepare(bolus_series())[0]


def worker_of(pool_dir: Path, shard: int = 0, n_shards: int = 1, **options: float) -> ShardWorker:
    return ShardWorker(pool_dir, PoolManifest.load(pool_dir).sha256(), shard, n_shards, n_threads=1, **options)  # type: ignore[arg-type]


async def collect(answers: AsyncGenerator[tuple[str, MemberAnswer], None]) -> dict[str, MemberAnswer]:
    return {member_id: answer async for member_id, answer in answers}


def test_a_shard_holds_its_members_and_answers_as_they_do(pool_dir: Path, prepared: PreparedSlice) -> None:
    worker = worker_of(pool_dir, shard=0, n_shards=2)
    assert worker.loaded() == ("s0-e01", "s2-e01")
    frozen = replace(prepared, frames=prepared.frames.copy())
    frozen.frames.flags.writeable = False  # as from the object store
    answers = asyncio.run(collect(worker.analyse(frozen, COARSE, worker.loaded())))
    for member in Pool.load(pool_dir, member_ids=worker.loaded()).members:
        expected, found = member.analyse(prepared, COARSE), answers[member.entry.id]
        assert isinstance(expected, MemberMaps)
        assert isinstance(found, MemberMaps)
        assert found.u_tot == expected.u_tot
        np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)
        np.testing.assert_array_equal(found.probability, expected.probability)


def test_a_shard_takes_its_members_further_as_they_do_themselves(pool_dir: Path, prepared: PreparedSlice) -> None:
    worker, (member,) = worker_of(pool_dir), Pool.load(pool_dir, member_ids=["s1-e01"]).members

    async def refine(n_patches: int, start: Moments | None) -> Moments:
        answers = {key: found async for key, found in worker.refine(prepared, FINE, n_patches, {"s1-e01": start})}
        assert isinstance(answers["s1-e01"], Moments)
        return answers["s1-e01"]

    async def both() -> Moments:
        first = await refine(25, None)
        for sums in (first.p_sum, first.p2_sum, first.probability):
            sums.flags.writeable = False  # as from the object store
        return await refine(40, first)

    found = asyncio.run(both())
    expected = member.refine(prepared, FINE, 40, member.refine(prepared, FINE, 25, None))
    assert expected is not None
    for name in ("p_sum", "p2_sum", "probability"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_torchs_threads_are_set(pool_dir: Path) -> None:
    torch.set_num_threads(2)
    worker_of(pool_dir)
    assert torch.get_num_threads() == 1


def test_a_member_that_raises_fails_alone(
    pool_dir: Path, prepared: PreparedSlice, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyse = Member.analyse

    def raise_for_one(self: Member, *arguments: object) -> MemberMaps | None:
        if self.entry.id == "s1-e01":
            raise RuntimeError("/some/path of somebody")
        return analyse(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Member, "analyse", raise_for_one)
    worker = worker_of(pool_dir)
    answers = asyncio.run(collect(worker.analyse(prepared, COARSE, worker.loaded())))
    assert answers["s1-e01"] == MemberFailure("raised RuntimeError")
    assert [type(answer) for answer in answers.values()] == [MemberMaps, MemberFailure, MemberMaps]


def test_a_slice_of_the_wrong_length_is_a_reason_in_words(pool_dir: Path, prepared: PreparedSlice) -> None:
    worker = worker_of(pool_dir)
    short = replace(prepared, frames=prepared.frames[:20])
    answers = asyncio.run(collect(worker.analyse(short, COARSE, ["s0-e01"])))
    assert answers == {"s0-e01": MemberFailure("member s0-e01: takes 30 frames; found a slice with 20.")}


def test_when_nobody_listens_any_more_the_sweep_ends(
    pool_dir: Path, prepared: PreparedSlice, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Event(), threading.Event()
    asked: list[bool] = []

    def sweep_until_told(_self: Member, _prepared: object, _settings: object, keep_going: object) -> None:
        begun.set()
        while keep_going():  # type: ignore[operator]
            pass
        asked.append(False)
        ended.set()

    monkeypatch.setattr(Member, "analyse", sweep_until_told)
    worker = worker_of(pool_dir)

    async def stop_listening() -> None:
        task = asyncio.create_task(collect(worker.analyse(prepared, COARSE, worker.loaded())))
        await asyncio.to_thread(begun.wait, 10)
        worker.check_health()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(stop_listening())
    assert ended.wait(10)
    assert asked == [False]  # the other members were not begun


def test_a_sweep_that_does_not_move_makes_the_shard_unhealthy(
    pool_dir: Path, prepared: PreparedSlice, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        begun.set()
        let_go.wait(10)

    monkeypatch.setattr(Member, "analyse", hang)
    worker = worker_of(pool_dir, stall_deadline_s=0.0)

    async def ask() -> None:
        task = asyncio.create_task(collect(worker.analyse(prepared, COARSE, ["s0-e01"])))
        await asyncio.to_thread(begun.wait, 10)
        with pytest.raises(RuntimeError, match="a sweep made no progress for 0 s"):
            worker.check_health()
        let_go.set()
        assert await task == {"s0-e01": MemberFailure("was stopped")}
        worker.check_health()

    asyncio.run(ask())


def test_a_changed_weight_or_another_pool_is_refused(tmp_path: Path) -> None:
    manifest = tiny_pool(tmp_path, n_members=2)
    with pytest.raises(PoolFolderError, match="must stay the one that the service started with"):
        ShardWorker(tmp_path, "0" * 64, 0, 1, 1)
    weights = tmp_path / manifest.members[1].weights_name
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    assert ShardWorker(tmp_path, manifest.sha256(), 0, 2, 1).loaded() == ("s0-e01",)
    with pytest.raises(WeightsHashError, match=r"member s1-e01: weights must have SHA-256"):
        ShardWorker(tmp_path, manifest.sha256(), 1, 2, 1)
