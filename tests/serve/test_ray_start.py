"""Ray for a service of this machine: a token that only its owner can read, loopback, no dashboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from serve.errors import ServiceUnreachableError
from serve.ray_start import connect, connect_to_running


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What Ray was asked to start with; nothing starts."""
    calls: list[dict[str, Any]] = []
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED", "RAY_ADDRESS"):
        monkeypatch.setenv(name, "")  # so that what the call sets is undone
        monkeypatch.delenv(name)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setattr("ray.init", lambda **options: calls.append(options))
    return calls


def test_ray_of_its_own_listens_on_loopback_without_a_dashboard_and_wants_a_token(
    started: list[dict[str, Any]], tmp_path: Path
) -> None:
    connect()
    assert started[0]["include_dashboard"] is False
    assert started[0]["_node_ip_address"] == "127.0.0.1"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    token = tmp_path / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert len(token.read_text()) == 64


def test_a_token_that_is_there_is_kept_and_closed_to_others(started: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / ".ray").mkdir()
    token = tmp_path / ".ray" / "auth_token"
    token.write_text("mine")
    token.chmod(0o644)
    connect()
    assert (token.read_text(), token.stat().st_mode & 0o777) == ("mine", 0o600)


def test_what_the_environment_says_is_kept(
    started: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "given")
    connect()
    assert not (tmp_path / ".ray").exists()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    connect()
    assert not (tmp_path / ".ray").exists()
    assert "include_dashboard" not in started[1]  # that is the cluster's business


def test_where_no_ray_runs_it_is_said_in_words(started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr("ray.init", refuse)
    with pytest.raises(ServiceUnreachableError, match="service: must be running on this machine"):
        connect_to_running()


def test_a_ray_that_does_not_start_is_said_in_words(
    started: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def time_out(**_: object) -> None:
        raise Exception("The current node timed out during startup.\nThis could happen because")  # noqa: TRY002, as Ray does

    monkeypatch.setattr("ray.init", time_out)
    with pytest.raises(ServiceUnreachableError, match="Ray: must start on this machine; found The current node timed"):
        connect()
