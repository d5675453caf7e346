"""The application: which plain class becomes which deployment. The only place with deployments and `.bind`."""

import asyncio
import os
from typing import Any

import ray
from fastapi import FastAPI
from ray import serve as ray_serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from pool.manifest import PoolManifest
from serve.generations import Generation, Generations, asl_of, basis_of
from serve.http.front import Front
from serve.http.ingress import create_app
from serve.monitoring.work import WorkMetrics
from serve.ray_ports import keep_replica_on_loopback
from serve.reading import GuardedReader
from serve.runner import StudyRunner
from serve.settings import ServiceSettings
from serve.shards.handles import RunnerHandle, ShardHandle
from serve.shards.limits import SelectorLimits
from serve.shards.members import ShardWorker
from serve.shards.selector import Selector
from serve.store.studies import StudyStore

HEALTH_CHECK_PERIOD_S = 2.0
"""A dead replica is replaced some 3.5 to 5 s after its death with this period, up to 11 s with Ray's default."""
GRACE_S = 5.0
"""How long a replica that is told to stop may finish what it does [s]; its work is taken up again elsewhere."""
REQUESTS_AT_ONCE = 256
"""HTTP requests in work at once, streams of events included; as many again wait, further ones get 503."""
_COMMON: dict[str, Any] = {
    "num_replicas": 1,
    "health_check_period_s": HEALTH_CHECK_PERIOD_S,
    "graceful_shutdown_wait_loop_s": GRACE_S / 10,
    "graceful_shutdown_timeout_s": GRACE_S,
}


class ShardReplica(ShardWorker):
    """A shard; arguments as `ShardWorker`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        keep_replica_on_loopback()
        super().__init__(*args, **kwargs)


class SelectorReplica:
    """The selector and the study runner, in one process.

    Args:
        settings: of the service.
        manifest: of its pool.
        shards: handle of every shard, by its name.
    """

    def __init__(self, settings: ServiceSettings, manifest: PoolManifest, shards: dict[str, DeploymentHandle]) -> None:
        keep_replica_on_loopback()
        limits = SelectorLimits(
            slice_deadline_s=settings.slice_deadline_s,
            readiness_deadline_s=settings.readiness_deadline_s,
            slices_in_flight=settings.slices_in_flight,
            least_members=settings.least_members or manifest.n_members,
        )
        in_order = [ShardHandle(shards[shard_name(k)]) for k in range(settings.n_shards)]
        metrics = WorkMetrics()
        self._selector = Selector(
            manifest,
            in_order,
            settings.analysis,
            limits,
            put=ray.put,
            on_failure=metrics.note_shard_failure,
            asl_settings=asl_of(settings, manifest),
        )
        self._runner = StudyRunner(
            StudyStore(settings.studies_dir),
            self._selector,
            GuardedReader(settings.reading),
            settings.analysis.preprocess,
            basis_of(settings, manifest),
            settings.studies_at_once,
            metrics,
        )
        self._work = asyncio.get_running_loop().create_task(self._runner.run_forever())

    def check_health(self) -> None:
        """Asked by Ray Serve every few seconds.

        Raises:
            RuntimeError: the study runner has ended; the replica is then replaced.
        """
        if self._work.done():
            raise RuntimeError("the study runner has ended")

    async def wake(self) -> None:
        """See `serve.generations.Runner.wake`."""
        self._runner.wake()

    async def stop(self, study_id: str) -> None:
        """See `serve.generations.Runner.stop`."""
        self._runner.stop(study_id)

    async def ready(self) -> list[str]:
        """See `serve.generations.Runner.ready`."""
        return await self._selector.ready()

    async def metrics(self) -> str:
        """See `serve.generations.Runner.metrics`."""
        return self._runner.metrics.text()


class FrontReplica:
    """The HTTP front.

    Args:
        settings: of the service.
        selector: handle of the selector in the same application; None where pools have applications of their own.
    """

    def __init__(self, settings: ServiceSettings, selector: DeploymentHandle | None = None) -> None:
        keep_replica_on_loopback()
        if selector is None:
            present = Generations(settings.studies_dir, _runner_in).present
        else:
            own = Generation(settings, PoolManifest.load(settings.pool_dir), RunnerHandle(selector))
            present = own.itself
        self._front = Front(settings, present, GuardedReader(settings.reading))

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The name that Ray Serve looks for, once the front is there."""
        return create_app(self._front)


def shard_name(shard: int) -> str:
    """Name of a shard's deployment."""
    return f"shard-{shard:02d}"


# No postponed annotations in this module: Ray Serve reads the argument's class to turn a config file's `args` into it.
def build(settings: ServiceSettings) -> Application:
    """The whole service as one application: shards, selector, front. For configuration files of clusters.

    Raises:
        PoolFolderError: see `PoolManifest.load`.
        PoolRegistryError: see `ServiceSettings.with_local_pool`.
        SettingsError: settings that do not fit the pool.
    """
    settings = settings.with_local_pool()
    return _front(settings, build_pool(settings))


def build_pool(settings: ServiceSettings) -> Application:
    """One pool at work: its shards and the selector that takes up its studies. Errors as `build`."""
    settings = settings.with_local_pool()
    manifest = PoolManifest.load(settings.pool_dir)
    settings.check_pool(manifest)
    shards = {shard_name(k): _shard(settings, manifest, k) for k in range(settings.n_shards)}
    selector = ray_serve.deployment(
        name="selector",
        ray_actor_options={"num_cpus": 0, "runtime_env": _environment()},
        max_ongoing_requests=REQUESTS_AT_ONCE,
        **_COMMON,
    )(SelectorReplica)
    return selector.bind(settings, manifest, shards)


def build_front(settings: ServiceSettings) -> Application:
    """The HTTP front alone, before whichever pool is announced: see `serve.generations`."""
    return _front(settings)


def _front(settings: ServiceSettings, *pool: Application) -> Application:
    front = ray_serve.deployment(
        name="front",
        ray_actor_options={"num_cpus": 0, "runtime_env": _environment()},
        max_ongoing_requests=REQUESTS_AT_ONCE,
        max_queued_requests=REQUESTS_AT_ONCE,
        **_COMMON,
    )(ray_serve.ingress()(FrontReplica))
    return front.bind(settings, *pool)


def _runner_in(application: str) -> RunnerHandle:
    return RunnerHandle(ray_serve.get_deployment_handle("selector", application))


def _environment() -> dict[str, Any]:
    """Two arenas keep a process's memory flat; many threads would each hold on to one."""
    return {"env_vars": {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}}


def _shard(settings: ServiceSettings, manifest: PoolManifest, shard: int) -> Application:
    deployment = ray_serve.deployment(
        name=shard_name(shard),
        ray_actor_options={
            "num_cpus": settings.cpus_per_shard,
            "num_gpus": settings.gpus_per_shard,
            "runtime_env": _environment(),
        },
        # Every slice in flight, one retry that overtakes its predecessor's end, and room to be asked what it holds.
        max_ongoing_requests=settings.slices_in_flight + 2,
        max_queued_requests=settings.slices_in_flight + 2,
        **_COMMON,
    )(ShardReplica)
    return deployment.bind(
        pool_dir=settings.pool_dir,
        pool_sha256=manifest.sha256(),
        shard=shard,
        n_shards=settings.n_shards,
        n_threads=settings.threads_per_shard,
        device=settings.device,
        stall_deadline_s=settings.stall_deadline_s,
        analysis=settings.analysis,
    )
