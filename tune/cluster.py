"""A Ray to train on: a local one on loopback, or a cluster that runs already."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pool.errors import SettingsError
from tune.errors import TrainingError
from tune.resources import Resources

OBJECT_STORE_BYTES = 150_000_000
"""Of a local Ray: slices are memory-mapped and never pass through the object store."""
CONNECT_TIMEOUT_S = 10.0
"""Within which a cluster's port must answer [s]; Ray itself tries for more than a minute."""
MOST_STARTS = 3
"""Of a local Ray before giving up: it gives itself 30 s, which a busy machine may not keep."""
ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Ray's: set by `ray job submit` in the driver's environment."""


@contextmanager
def running_ray(resources: Resources) -> Iterator[None]:
    """A Ray that can hold at least one trial; one that was not running before is stopped afterwards.

    It is the cluster at `resources.address`, else at the environment's RAY_ADDRESS, else a local one.

    Raises:
        SettingsError: a cluster that cannot be reached, or a trial that asks for more than any of its nodes has; Ray
            itself would wait for ever.
        TrainingError: a local Ray does not start.
    """
    address = resources.address or os.environ.get(ADDRESS_VARIABLE)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        # Without it Ray listens on every interface, `_node_ip_address` or not; the name speaks of other systems.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    else:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    owned = not ray.is_initialized()
    if owned:
        _start_or_connect(address)
    try:
        refuse_what_no_node_has(resources, ray.nodes())
        yield
    finally:
        if owned:
            ray.shutdown()


def hosts_of_trials(resources: Resources, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of Ray's `nodes()` that are alive and large enough for a trial."""
    return [
        node
        for node in nodes
        if node["Alive"]
        and node["Resources"].get("CPU", 0.0) >= resources.cpus_per_trial
        and node["Resources"].get("GPU", 0.0) >= resources.gpus_per_trial
    ]


def refuse_what_no_node_has(resources: Resources, nodes: list[dict[str, Any]]) -> None:
    """Refuse a trial that no node can hold: the sum over all nodes is of no use to it.

    Raises:
        SettingsError: with what the nodes have.
    """
    if hosts_of_trials(resources, nodes):
        return
    sizes = Counter(
        f"{node['Resources'].get('CPU', 0.0):g} CPUs and {node['Resources'].get('GPU', 0.0):g} GPUs"
        for node in nodes
        if node["Alive"]
    )
    found = ", ".join(f"{n} node{'s' if n > 1 else ''} with {size}" for size, n in sorted(sizes.items()))
    wanted = f"{resources.cpus_per_trial:g} CPUs and {resources.gpus_per_trial:g} GPUs"
    remedy = "Ask for less, or start a node that has them before the training."
    raise SettingsError("resources", f"a trial's {wanted} must exist on one node", found or "no node", remedy)


def _start_or_connect(address: str | None) -> None:
    in_main_thread = threading.current_thread() is threading.main_thread()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address is None:
            _start_locally()
        else:
            _connect(address)
    finally:
        if in_main_thread:  # Ray puts its own handler in place, which exits without saving anything
            signal.signal(signal.SIGTERM, on_sigterm)


def _start_locally() -> None:
    import ray

    for n_starts_left in reversed(range(MOST_STARTS)):
        try:
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
            )
        except Exception as error:  # Ray's own words for too slow a start are a plain Exception
            ray.shutdown()
            if n_starts_left == 0:
                remedy = "Is the machine busy, or its memory or temporary folder full?"
                raise TrainingError("Ray", "must start on this machine", _first_sentence(error), remedy) from error
        else:
            return


def _connect(address: str) -> None:
    import ray

    _refuse_unreachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many kinds: no token, a wrong one, another version, a cluster that goes down
        remedy = "Is its token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, or RAY_AUTH_MODE=disabled where it needs none?"
        raise SettingsError("Ray cluster", "must take up the training", _first_sentence(error), remedy) from error


def _first_sentence(error: Exception) -> str:
    said = str(error).strip() or type(error).__name__
    return said.split("\n")[0].split(". ")[0].rstrip(".")


def _refuse_unreachable(address: str) -> None:
    if "://" in address:
        rule = "address must be host:port of its head node (6379 unless changed)"
        remedy = "Over HTTP a training is submitted as a job: see deploy/cluster/README.md."
        raise SettingsError("Ray cluster", rule, f"{address.split('://')[0]}://...", remedy)
    host, _, port = address.rpartition(":")
    if address == "auto" or not port.isdecimal():  # Ray finds it, or says what is wrong with it
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        remedy = "Is it running, and can this machine reach it?"
        raise SettingsError("Ray cluster", f"must answer at {address}", str(error), remedy) from error
