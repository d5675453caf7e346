"""The service on a real local Ray: the bytes of `pool.analysis`, one object a slice, and life after a shard's death."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from pool.analysis import AnalysisSettings, StudyAnalysis, analyse
from pool.asl.analysis import analyse_asl
from pool.asl.result import write_asl_result
from pool.asl.series import AslSeries
from pool.errors import SettingsError
from pool.inputs import open_study
from pool.manifest import PoolManifest
from pool.member import Pool
from pool.preprocess import prepare
from pool.race_settings import RaceLevel, RaceSettings
from pool.results import maps_npz, members_npz, result_json
from pool.sweep import SweepSettings
from serve.client import ServiceClient
from serve.errors import ServiceRefusedError
from serve.generations import application_of, asl_of, basis_of
from serve.local import free_port, running_service
from serve.settings import ServiceSettings
from serve.shards.limits import SelectorLimits
from serve.shards.selector import Selector
from tests.asl_samples import mixed_pool, write_asl_npz
from tests.samples import bolus_series, write_npz

pytestmark = [pytest.mark.usefixtures("local_ray"), pytest.mark.timeout(1200)]
N_SLICES, N_MEMBERS = 2, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    mixed_pool(folder / "pool", N_MEMBERS)
    write_npz(folder / "study.npz", bolus_series(N_SLICES, n_frames=16))
    write_asl_npz(folder / "asl.npz")
    return folder


@pytest.fixture(scope="module")
def settings(folder: Path) -> ServiceSettings:
    return ServiceSettings(pool_dir=folder / "pool", studies_dir=folder / "studies", port=free_port(), n_shards=2)


@pytest.fixture(scope="module")
def url(local_ray: None, settings: ServiceSettings) -> Iterator[str]:
    with running_service(settings) as url:
        yield url


@pytest.fixture(scope="module")
def expected(folder: Path) -> StudyAnalysis:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    analysis = analyse(open_study(folder / "study.npz").series, Pool.load(folder / "pool"))
    torch.set_num_threads(before)
    return analysis


def test_the_service_returns_the_bytes_of_one_process(
    url: str, folder: Path, expected: StudyAnalysis, tmp_path: Path
) -> None:
    with ServiceClient(url) as client:
        sent = client.send(folder / "study.npz")
        done = client.wait(sent.id, deadline_s=900)
        client.fetch(sent.id, tmp_path / "out")
    assert done.n_sweeps_done == done.n_sweeps == N_SLICES * N_MEMBERS
    assert [item.selection.chosen is not None for item in expected.slices] == [True] * N_SLICES
    for name, as_bytes in (("result.json", result_json), ("maps.npz", maps_npz), ("members.npz", members_npz)):
        assert (tmp_path / "out" / name).read_bytes() == as_bytes(expected), name


def test_a_mixed_pool_answers_about_an_asl_image_with_the_bytes_of_one_process(
    url: str, folder: Path, settings: ServiceSettings, tmp_path: Path
) -> None:
    manifest = PoolManifest.load(folder / "pool")
    with ServiceClient(url) as client:
        sent = client.send(folder / "asl.npz")
        done = client.wait(sent.id, deadline_s=900)
        client.fetch(sent.id, tmp_path / "out")
        pool = client.pool()
    assert done.n_sweeps_done == done.n_sweeps == len(manifest.of_trials)
    assert {member["id"]: member["shard"] for member in pool["members"]} == {
        **{f"s{i}-e01": i % 2 for i in range(N_MEMBERS)},
        **{entry.id: None for entry in manifest.of_trials},
    }
    before = torch.get_num_threads()
    expected = analyse_asl(AslSeries.load(folder / "asl.npz"), Pool.load(folder / "pool"), asl_of(settings, manifest))
    torch.set_num_threads(before)
    assert expected.selection.chosen is not None
    assert expected.flow
    for file in write_asl_result(expected, tmp_path / "expected"):
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name


def selector_from_here(settings: ServiceSettings, put: Any, analysis: AnalysisSettings | None = None) -> Selector:
    """A selector in this process over the real shards."""
    from ray import serve as ray_serve

    from serve.app import shard_name
    from serve.shards.handles import ShardHandle

    name = application_of(basis_of(settings, PoolManifest.load(settings.pool_dir)))
    handles = [ray_serve.get_deployment_handle(shard_name(k), name) for k in range(settings.n_shards)]
    limits = SelectorLimits(slice_deadline_s=900, readiness_deadline_s=30, slices_in_flight=2, least_members=N_MEMBERS)
    manifest = PoolManifest.load(settings.pool_dir)
    return Selector(manifest, [ShardHandle(handle) for handle in handles], analysis or settings.analysis, limits, put)


def test_a_slice_enters_the_object_store_once_and_a_dead_shard_is_asked_again(
    url: str, settings: ServiceSettings, folder: Path, expected: StudyAnalysis
) -> None:
    import ray

    put: list[str] = []
    killed: list[str] = []

    def put_and_count(prepared: Any) -> Any:
        put.append(prepared.name)
        return ray.put(prepared)

    def kill_at_the_first_answer(_n_done: int, _n_sweeps: int) -> None:
        if not killed:
            kill_replica(settings, "shard-00")
            killed.append("shard-00")

    async def run() -> StudyAnalysis:
        study = open_study(folder / "study.npz")
        selector = selector_from_here(settings, put_and_count)
        found = await selector.analyse(study.series, prepare(study.series), kill_at_the_first_answer)
        assert await selector.ready() == []
        return found

    found = asyncio.run(run())
    assert sorted(put) == sorted(expected.series.slice_names)
    assert killed == ["shard-00"]
    assert result_json(found) == result_json(expected)
    assert maps_npz(found) == maps_npz(expected)


def test_a_race_over_shards_gives_the_bytes_of_one_process(url: str, settings: ServiceSettings, folder: Path) -> None:
    import ray

    racing = AnalysisSettings(
        sweep=SweepSettings(stride_px=8), rule="min-u_pp-race", race=RaceSettings((RaceLevel(25, 0.05),))
    )
    study = open_study(folder / "study.npz")
    before = torch.get_num_threads()
    expected = analyse(study.series, Pool.load(folder / "pool"), racing)
    torch.set_num_threads(before)
    selector = selector_from_here(settings, ray.put, racing)
    found = asyncio.run(selector.analyse(study.series, prepare(study.series)))
    assert {score.n_patches for item in found.slices for score in item.selection.scores} == {25, 81}
    for as_bytes in (result_json, maps_npz, members_npz):
        assert as_bytes(found) == as_bytes(expected)


def test_refusals_reach_the_client_in_words(url: str, tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(b"no DICOM")
    with ServiceClient(url) as client, pytest.raises(ServiceRefusedError, match="needs at least one DICOM file"):
        client.send(tmp_path / "scan")
    assert httpx.post(f"{url}/v1/studies").status_code == 400
    assert httpx.get(f"{url}/readyz").json() == {"ok": True, "complaints": []}


def test_a_second_service_on_the_same_port_is_refused(url: str, settings: ServiceSettings) -> None:
    with (
        pytest.raises(SettingsError, match=r"service setting port: must be free; found \d+ in use"),
        running_service(settings),
    ):
        pass


def test_more_than_the_machine_has_is_refused(url: str, settings: ServiceSettings) -> None:
    too_much = settings.model_copy(update={"port": free_port(), "cpus_per_shard": 2.0})
    with (
        pytest.raises(SettingsError, match=r"2 shards of 2 CPU must fit into the cluster; found 2 CPU"),
        running_service(too_much),
    ):
        pass


def test_the_builder_takes_a_configuration_files_arguments(settings: ServiceSettings) -> None:
    from serve.app import build

    (argument,) = inspect.signature(build).parameters.values()
    assert argument.annotation is ServiceSettings  # as a class, which Ray Serve needs to make one of `args:`
    assert build(ServiceSettings.model_validate({"pool_dir": str(settings.pool_dir)})) is not None
    with pytest.raises(SettingsError, match="least_members: must be from 1 to the pool's 5 members; found 6"):
        build(settings.model_copy(update={"least_members": 6}))


def kill_replica(settings: ServiceSettings, deployment: str) -> None:
    """Kill a replica's process, as SIGKILL would."""
    import ray

    name = application_of(basis_of(settings, PoolManifest.load(settings.pool_dir)))

    named = ray.util.list_named_actors(all_namespaces=True)
    found = [actor for actor in named if actor["name"].startswith(f"SERVE_REPLICA::{name}#{deployment}#")]
    assert len(found) == 1
    ray.kill(ray.get_actor(found[0]["name"], namespace=found[0]["namespace"]))
