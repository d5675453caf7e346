"""Which pool studies come in for, and that others finish on the one they came in for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest

import serve.runner
from pool.errors import PoolFolderError, SettingsError
from pool.manifest import PoolManifest
from pool.preprocess import PreprocessSettings
from serve.generations import Announcement, Generation, Generations, announce, announced
from serve.http.front import Front
from serve.runner import StudyRunner
from serve.settings import ServiceSettings
from serve.store.basis import Basis
from serve.store.records import StudyState
from serve.store.studies import StudyStore
from tests.samples import bolus_series, tiny_pool, write_npz
from tests.serve.fakes import BASIS, FakeShard, PlainReader, manifest_of, maps_of, selector_of
from tests.serve.http.services import FakeRunner

NEW = Basis("a" * 64, "b" * 64)


class NamedRunner(FakeRunner):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def settings_of(folder: Path, n_members: int) -> ServiceSettings:
    tiny_pool(folder / f"pool-{n_members}", n_members)
    return ServiceSettings(pool_dir=folder / f"pool-{n_members}", studies_dir=folder / "studies")


def test_the_present_pool_is_the_one_announced_last(tmp_path: Path) -> None:
    first, second = settings_of(tmp_path, 1), settings_of(tmp_path, 2)
    StudyStore(tmp_path / "studies")
    assert announced(tmp_path / "studies") is None
    announce(tmp_path / "studies", Announcement("one", first))
    assert announced(tmp_path / "studies") == Announcement("one", first)
    with pytest.raises(SettingsError, match="must name the pool that studies come in for; found none"):
        Generations(tmp_path / "elsewhere", NamedRunner)
    generations = Generations(tmp_path / "studies", NamedRunner)
    assert generations.present().manifest.n_members == 1
    assert generations.present() is generations.present()
    announce(tmp_path / "studies", Announcement("two", second))
    found = generations.present()
    assert (found.manifest.n_members, found.settings, found.runner.name) == (2, second, "two")  # type: ignore[attr-defined]


def test_a_pool_that_cannot_be_read_leaves_the_one_before(tmp_path: Path) -> None:
    first = settings_of(tmp_path, 1)
    StudyStore(tmp_path / "studies")
    announce(tmp_path / "studies", Announcement("one", first))
    generations = Generations(tmp_path / "studies", NamedRunner)
    before = generations.present()
    gone = first.model_copy(update={"pool_dir": tmp_path / "gone"})
    announce(tmp_path / "studies", Announcement("gone", gone))
    assert generations.present() is before
    with pytest.raises(PoolFolderError, match="needs a manifest.json"):
        Generations(tmp_path / "studies", NamedRunner)


def test_a_study_is_of_the_pool_that_was_present_when_it_came(tmp_path: Path) -> None:
    first, second = settings_of(tmp_path, 1), settings_of(tmp_path, 2)
    present = [Generation(first, PoolManifest.load(first.pool_dir), FakeRunner())]
    front = Front(first, lambda: present[0], PlainReader())
    content = write_npz(tmp_path / "study.npz", bolus_series(n_frames=12)).read_bytes()

    def send() -> str:
        return asyncio.run(front.accept([("a.npz", io.BytesIO(content))])).record.id

    before = send()
    assert send() == before
    present[0] = Generation(second, PoolManifest.load(second.pool_dir), FakeRunner())
    after = send()
    assert after != before
    assert [front.store.get(i).n_sweeps for i in (before, after)] == [1, 2]
    assert front.store.get(before).pool_sha256 == PoolManifest.load(first.pool_dir).sha256()
    assert front.store.get(after).basis == present[0].basis


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_npz(tmp_path_factory.mktemp("npz") / "study.npz", bolus_series(n_frames=12)).read_bytes()


def accept(store: StudyStore, content: bytes, basis: Basis) -> str:
    with store.receive() as upload:
        upload.add(io.BytesIO(content), "study.npz")
        return upload.commit(2, basis).id


def runner_of(store: StudyStore, basis: Basis) -> StudyRunner:
    selector = selector_of([FakeShard(lambda member_id: maps_of(member_id, 128))], manifest_of(2).n_members)
    return StudyRunner(store, selector, PlainReader(), PreprocessSettings(), basis, 2)


async def until(holds: Callable[[], bool], *runners: StudyRunner) -> None:
    tasks = [asyncio.create_task(runner.run_forever()) for runner in runners]
    async with asyncio.timeout(60):
        while not holds():
            for runner in runners:
                runner.wake()
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_while_both_pools_are_there_each_finishes_its_own_studies(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    ids = {accept(store, npz, basis): basis for basis in (BASIS, NEW, BASIS, NEW)}
    asyncio.run(until(lambda: not store.unfinished(), runner_of(store, BASIS), runner_of(store, NEW)))
    for study_id, basis in ids.items():
        assert (store.get(study_id).state, store.get(study_id).basis) == (StudyState.DONE, basis)


def test_studies_of_a_pool_that_is_gone_are_taken_up_with_the_present_one(
    tmp_path: Path, npz: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = StudyStore(tmp_path)
    orphan, own = accept(store, npz, BASIS), accept(store, npz, NEW)
    asyncio.run(until(lambda: store.get(own).state.is_final, runner_of(store, NEW)))
    assert store.get(orphan).state is StudyState.RECEIVED  # its pool may come back
    monkeypatch.setattr(serve.runner, "ORPHANED_S", 0.0)
    asyncio.run(until(lambda: not store.unfinished(), runner_of(store, NEW)))
    assert (store.get(orphan).state, store.get(orphan).basis) == (StudyState.DONE, NEW)


def test_two_runners_of_one_pool_never_work_at_once(tmp_path: Path, npz: bytes) -> None:
    store = StudyStore(tmp_path)
    ids = [accept(store, npz, BASIS) for _ in range(3)]
    asyncio.run(until(lambda: not store.unfinished(), runner_of(store, BASIS), runner_of(store, BASIS)))
    for study_id in ids:
        kinds = [event.kind for event in store.events(study_id)]
        assert (kinds.count("started"), kinds.count("done")) == (1, 1)


def test_a_study_that_is_cancelled_behind_the_runners_back_is_stopped(tmp_path: Path, npz: bytes) -> None:
    from tests.serve.fakes import HangingShard

    store = StudyStore(tmp_path)
    study_id = accept(store, npz, BASIS)
    hanging = HangingShard()
    runner = StudyRunner(store, selector_of([hanging], 2), PlainReader(), PreprocessSettings(), BASIS, 1)

    def stopped() -> bool:
        if hanging.calls and not store.get(study_id).state.is_final:
            store.cancel(study_id)
        return hanging.n_closed == 1

    asyncio.run(until(stopped, runner))
    assert store.get(study_id).state is StudyState.CANCELLED
