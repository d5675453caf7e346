"""Ray for a service on this machine: its own, on loopback and behind a token, or the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path

from serve.errors import ServiceUnreachableError


def connect() -> None:
    """Connect this process to Ray; where RAY_ADDRESS names no cluster, start one of this process's own.

    Ray's ports run code for whoever reaches them. They listen on loopback, without a dashboard and its job server, and
    want a token, because a machine may have other users: RAY_AUTH_MODE is `token` unless it is set.

    Raises:
        ServiceUnreachableError: Ray does not start here.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # without it Ray listens on every interface
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # many threads would each hold on to memory of their own
    if os.environ["RAY_AUTH_MODE"] == "token":
        _ensure_token()

    import ray  # after its environment is set

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
        return
    try:
        ray.init(
            include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING, _node_ip_address="127.0.0.1"
        )
    except Exception as error:  # Ray says that its half minute is over by a bare Exception
        raise ServiceUnreachableError(
            "Ray",
            "must start on this machine",
            " ".join(str(error).split())[:200] or type(error).__name__,
            "A busy machine may be too slow for it: try again. Its logs lie in /tmp/ray/session_latest/logs.",
        ) from error


def connect_to_running() -> None:
    """Connect this process to the Ray that a service runs on: the cluster of RAY_ADDRESS, else this machine's latest.

    Raises:
        ServiceUnreachableError: there is none.
    """
    os.environ.setdefault("RAY_ADDRESS", "auto")
    try:
        connect()
    except (ConnectionError, RuntimeError) as error:
        raise ServiceUnreachableError(
            "service", "must be running on this machine or the cluster of RAY_ADDRESS", "no Ray", "Start it first."
        ) from error


def _ensure_token() -> None:
    """A token where Ray's tools look for it, readable by its owner alone; Ray would write it for everybody to read."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        path.chmod(0o600)
    except OSError:  # no home that can be written, as in some containers
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
