"""From one pool to another while studies run: the new one comes up and takes over; the old one finishes and goes.

    deploy   the new pool's selector and shards as an application of their own, beside the old one
    ready    every shard has loaded, verified and tried its members
    announce studies that come in from now on are for the new pool
    retire   when the old pool has no study left, its application is removed

Each step may be repeated: a roll that was killed is finished by running it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pool.errors import SettingsError
from pool.manifest import PoolManifest, verify_pool
from serve.errors import ServiceUnreachableError
from serve.generations import Announcement, announce, announced, application_of, basis_of
from serve.settings import ServiceSettings
from serve.store.studies import StudyStore

_LOOK_EVERY_S = 0.5
_PREFIX = "pool-"


def deploy_pool(settings: ServiceSettings) -> str:
    """Start a pool's application, wait until it is ready, and announce it; returns its name.

    Args:
        settings: of the service, with the pool in a folder. This process is connected to Ray.

    Raises:
        SettingsError: it does not fit into what is free of the cluster.
        ServiceUnreachableError: not ready within `start_deadline_s`; the present pool stays.
    """
    import ray
    from ray import serve as ray_serve

    from serve.app import build_pool

    manifest = PoolManifest.load(settings.pool_dir)
    name = application_of(basis_of(settings, manifest))
    is_new = name not in ray_serve.status().applications
    if is_new:
        settings.check_cluster(ray.available_resources())
    try:
        ray_serve.run(build_pool(settings), name=name, route_prefix=None)
    except RuntimeError as error:  # what Ray Serve raises where a replica cannot be made
        if is_new:
            ray_serve.delete(name)
        raise ServiceUnreachableError(
            "service", "every part of it must start", "one that failed", "See Ray's logs."
        ) from error
    _wait_until_ready(ray_serve.get_deployment_handle("selector", name), settings.start_deadline_s)
    return announce_pool(settings)


def announce_pool(settings: ServiceSettings) -> str:
    """Make a pool the one that studies come in for; returns the name of its application.

    Raises:
        PoolFolderError: see `PoolManifest.load`.
        OutputError: the study store cannot be made or written.
    """
    name = application_of(basis_of(settings, PoolManifest.load(settings.pool_dir)))
    StudyStore(settings.studies_dir)
    announce(settings.studies_dir, Announcement(name, settings))
    return name


def settings_for_roll(
    studies_dir: Path, pool: str, mlflow_uri: str | None = None, n_shards: int | None = None
) -> ServiceSettings:
    """The settings of the service that works with a study store, but for its pool, which is fetched and verified.

    Args:
        studies_dir: folder of the study store.
        pool: the new pool: a folder or a registered one.
        mlflow_uri: its registry; default the one that the service knows.
        n_shards: number of its shards; default as before.

    Raises:
        SettingsError: no service was started with this study store, or its settings do not fit the pool.
        PoolFolderError, WeightsHashError, PoolRegistryError: a pool that is not whole or cannot be had.
    """
    running = announced(studies_dir)
    if running is None:
        raise SettingsError(
            "study store", "must be that of a running service", "none that was started there", "Give its --studies."
        )
    before = running.settings
    changed = {
        "pool_dir": pool,
        "pool_origin": "",
        "mlflow_uri": mlflow_uri or before.mlflow_uri,
        "n_shards": n_shards or before.n_shards,
    }
    settings = ServiceSettings(**{**before.model_dump(), **changed}).with_local_pool()
    settings.check_pool(verify_pool(settings.pool_dir))
    return settings


def roll_to(settings: ServiceSettings, on_waiting: Callable[[int, int], None] = lambda *_: None) -> None:
    """Take a running service to another pool; returns when the old one is gone.

    Args:
        settings: see `settings_for_roll`. This process is connected to Ray.
        on_waiting: called with how many studies of other pools were finished meanwhile, and how many there were.

    Raises:
        SettingsError, ServiceUnreachableError: see `deploy_pool`; nothing has changed then.
    """
    retire_others(settings, deploy_pool(settings), on_waiting)


def retire_others(settings: ServiceSettings, present: str, on_waiting: Callable[[int, int], None]) -> None:
    """Remove the applications of all pools but the present one, each when none of its studies is left."""
    from ray import serve as ray_serve

    store, most = StudyStore(settings.studies_dir), 0
    while others := [name for name in ray_serve.status().applications if name.startswith(_PREFIX) and name != present]:
        waiting = [application_of(record.basis) for record in store.unfinished()]
        for name in others:
            if name not in waiting:
                ray_serve.delete(name)
        if left := sum(name in others for name in waiting):
            most = max(most, left)
            on_waiting(most - left, most)
            time.sleep(_LOOK_EVERY_S)


def _wait_until_ready(selector: Any, deadline_s: float) -> None:
    end_s = time.monotonic() + deadline_s
    complaints = ["no answer"]
    while time.monotonic() < end_s:
        try:
            complaints = selector.ready.remote().result(timeout_s=30)
        except Exception as error:
            complaints = [type(error).__name__]
        if not complaints:
            return
        time.sleep(_LOOK_EVERY_S)
    raise ServiceUnreachableError("pool", f"must be ready within {deadline_s:g} s", "; ".join(complaints))
