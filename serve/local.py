"""The service on this machine, for as long as a block lasts: what `python -m serve run`, the demo and the tests use."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from pool.errors import SettingsError
from pool.manifest import verify_pool
from serve.errors import ServiceUnreachableError
from serve.http.tokens import read_tokens
from serve.ray_start import connect
from serve.rolling import announce_pool
from serve.settings import ServiceSettings

APPLICATION_NAME = "perfusion-pool"
_POLL_S = 0.1


def free_port() -> int:
    """A port of the loopback interface that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_service(settings: ServiceSettings) -> Iterator[str]:
    """Start the service, wait until it is ready, yield its URL, and stop what was started.

    Uses the Ray that this process is connected to, if it is; else the cluster that RAY_ADDRESS names; else it starts a
    local one on loopback. Ray Serve must not be running there already: its address could no longer be chosen.

    Args:
        settings: of the service.

    Raises:
        PoolRegistryError: a registered pool that cannot be had.
        PoolFolderError, WeightsHashError: a pool that is not whole; Ray is then not even started.
        SettingsError: settings that fit neither the pool nor the machine, or a port in use.
        ServiceUnreachableError: not ready within `start_deadline_s`.
    """
    settings = settings.with_local_pool()
    settings.check_pool(verify_pool(settings.pool_dir))
    if settings.token_file is not None:
        read_tokens(settings.token_file)
    _refuse_used_port(settings)
    starts_ray = not ("ray" in sys.modules and sys.modules["ray"].is_initialized())
    owns_ray = starts_ray and not os.environ.get("RAY_ADDRESS")
    if starts_ray:
        connect()

    import ray  # after its environment is set
    from ray import serve as ray_serve

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        settings.check_cluster(ray.cluster_resources())
        ray_serve.start(http_options={"host": settings.host, "port": settings.port})
        try:
            _run(settings)
            url = f"http://{settings.host}:{settings.port}"
            _wait_until_ready(url, settings.start_deadline_s)
            yield url
        finally:
            if not owns_ray:  # else Ray takes Serve with it, in less time and without a message that alarms
                ray_serve.shutdown()
    finally:
        if starts_ray:
            ray.shutdown()


def _run(settings: ServiceSettings) -> None:
    """Pool and front at the same time: nobody sends a study before both are ready."""
    from ray import serve as ray_serve

    from serve.app import build_front, build_pool

    name = announce_pool(settings)
    pool = ray_serve.RunTarget(build_pool(settings), name, route_prefix=None)
    front = ray_serve.RunTarget(build_front(settings), APPLICATION_NAME)
    try:
        ray_serve.run_many([pool, front])
    except RuntimeError as error:  # what Ray Serve raises where a replica cannot be made
        raise ServiceUnreachableError(
            "service", "every part of it must start", "one that failed", "See Ray's logs."
        ) from error


def _refuse_used_port(settings: ServiceSettings) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsError(
                "service setting port", "must be free", f"{settings.port} in use", "Give another."
            ) from error


def _wait_until_ready(url: str, deadline_s: float) -> None:
    end = time.monotonic() + deadline_s
    found = "no answer"
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"{url}/readyz", timeout=10.0)
            if answer.status_code == 200:
                return
            found = f"HTTP {answer.status_code}"
        except httpx.HTTPError as error:
            found = type(error).__name__
        time.sleep(_POLL_S)
    raise ServiceUnreachableError("service", f"must be ready within {deadline_s:g} s", found, "See Ray's logs.")
