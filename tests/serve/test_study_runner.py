"""The runner: every accepted study ends in a result or in a stated reason."""

from __future__ import annotations

import asyncio
import errno
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import serve.analyst
from pool.analysis import StudyAnalysis
from pool.errors import OutputError
from pool.preprocess import PreparedSlice, PreprocessSettings
from pool.series import PerfusionSeries
from serve.errors import TooFewMembersError
from serve.runner import MOST_ATTEMPTS, StudyRunner
from serve.shards.selector import OnAnswer, OnProgress
from serve.store.records import StudyRecord, StudyState
from serve.store.studies import StudyStore
from tests.samples import bolus_series, write_npz
from tests.serve.fakes import BASIS, FakeShard, HangingShard, PlainReader, maps_of, selector_of


class FakeAnalyst:
    """Answers through a selector over a fake shard, or raises, or hangs."""

    def __init__(self, shard: FakeShard | None = None, error: Exception | None = None) -> None:
        self.shard, self.error, self.n_studies = shard or FakeShard(lambda id_: maps_of(id_, 128)), error, 0

    async def analyse(
        self,
        series: PerfusionSeries,
        prepared: Sequence[PreparedSlice],
        on_progress: OnProgress | None = None,
        on_answer: OnAnswer | None = None,
    ) -> StudyAnalysis:
        self.n_studies += 1
        if self.error is not None:
            raise self.error
        return await selector_of([self.shard], 2).analyse(series, prepared, on_progress, on_answer)


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_npz(tmp_path_factory.mktemp("npz") / "study.npz", bolus_series(n_frames=12)).read_bytes()


def accept(store: StudyStore, content: bytes) -> StudyRecord:
    with store.receive() as upload:
        upload.add(io.BytesIO(content), "study.npz")
        return upload.commit(n_sweeps=2, basis=BASIS)


async def work_until(store: StudyStore, analyst: FakeAnalyst, done: Callable[[StudyRunner], bool]) -> None:
    runner = StudyRunner(store, analyst, PlainReader(), PreprocessSettings(), BASIS, studies_at_once=2)
    task = asyncio.create_task(runner.run_forever())
    async with asyncio.timeout(30):
        while not done(runner):
            await asyncio.sleep(0.005)
    task.cancel()


def test_studies_of_an_earlier_life_are_taken_up_and_finished(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    ids = [accept(store, npz).id for _ in range(3)]
    store.start(ids[1], BASIS)  # and then the machine went down
    asyncio.run(work_until(store, FakeAnalyst(), lambda _: not store.unfinished()))
    for study_id in ids:
        record = store.get(study_id)
        assert (record.state, record.n_sweeps_done) == (StudyState.DONE, 2)
        assert record.results == ("maps.npz", "members.npz", "members.png", "overlay.png", "result.json")
    assert store.get(ids[1]).n_attempts == 2


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TooFewMembersError("slice base", "needs answers", "1"), "slice base: needs answers; found 1."),
        (ValueError("Doe^John"), "an internal error (ValueError) that the service's log describes"),
    ],
)
def test_a_failure_is_a_stated_reason(tmp_path: Path, npz: bytes, error: Exception, reason: str) -> None:
    store = StudyStore(tmp_path)
    study_id = accept(store, npz).id
    analyst = FakeAnalyst(error=error)
    asyncio.run(work_until(store, analyst, lambda _: not store.unfinished()))
    record = store.get(study_id)
    assert (record.state, record.reason, record.results) == (StudyState.FAILED, reason, ())
    assert analyst.n_studies == 1
    assert not store.results_dir(study_id).exists()


def test_a_study_that_takes_the_service_down_each_time_is_given_up(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    study_id = accept(store, npz).id
    for _ in range(MOST_ATTEMPTS):
        store.start(study_id, BASIS)
    asyncio.run(work_until(store, FakeAnalyst(), lambda _: not store.unfinished()))
    assert store.get(study_id).reason == "was begun 10 times and never came to an end"


def test_a_cancelled_study_stops_its_sweeps_and_makes_room(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    hanging = HangingShard()
    study_id = accept(store, npz).id

    def stopped(runner: StudyRunner) -> bool:
        if hanging.calls and not store.get(study_id).state.is_final:
            store.cancel(study_id)
            runner.stop(study_id)
        return hanging.n_closed == 1

    asyncio.run(work_until(store, FakeAnalyst(hanging), stopped))
    assert store.get(study_id).state is StudyState.CANCELLED
    assert not store.results_dir(study_id).exists()


def test_a_removed_study_is_no_reason_to_stop_working(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    removed = accept(store, npz)
    store.remove(removed.id)
    runner = StudyRunner(store, FakeAnalyst(), PlainReader(), PreprocessSettings(), BASIS, studies_at_once=1)
    asyncio.run(runner.run(removed))
    assert store.records() == []


def test_at_most_so_many_studies_are_in_work(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    hanging = HangingShard()
    for _ in range(4):
        accept(store, npz)
    asyncio.run(work_until(store, FakeAnalyst(hanging), lambda _: len(hanging.calls) == 2))
    states = [record.state for record in store.records()]
    assert sorted(states) == ["received", "received", "running", "running"]


def test_a_study_that_finds_the_disk_full_waits_and_is_done_later(
    tmp_path: Path, npz: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.runner.NO_ROOM_PAUSE_S", 0.001)
    full = [OutputError("folder results", "must be writable", "No space left on device"), None]
    full[0].__cause__ = OSError(errno.ENOSPC, "No space left on device")  # type: ignore[union-attr]
    write = serve.analyst.write_results

    def write_if_there_is_room(*arguments: Any, **more: Any) -> Any:
        if error := full.pop(0):
            raise error
        return write(*arguments, **more)

    monkeypatch.setattr("serve.analyst.write_results", write_if_there_is_room)
    store = StudyStore(tmp_path)
    study_id = accept(store, npz).id
    asyncio.run(work_until(store, FakeAnalyst(), lambda _: not store.unfinished()))
    assert (store.get(study_id).state, full) == (StudyState.DONE, [])


def test_a_study_that_somebody_else_works_on_is_left_and_not_asked_for_without_end(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    study_id = accept(store, npz).id
    claim = store.claim(study_id)
    assert claim.take()
    runner = StudyRunner(store, FakeAnalyst(), PlainReader(), PreprocessSettings(), BASIS, studies_at_once=1)
    assert asyncio.run(runner.run(store.get(study_id))) is False
    assert store.get(study_id).state is StudyState.RECEIVED
    claim.let_go()
    assert asyncio.run(runner.run(store.get(study_id))) is True
    assert store.get(study_id).state is StudyState.DONE
