"""Logs sent late, in pieces, or by a process that dies again and again: the store ends as if all had come at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

import tune.tracking.sender
from tests.tune.tracking.conftest import Training, content
from tune.__main__ import app
from tune.tracking.journal import Journal
from tune.tracking.sender import Sender

WRITING = (
    "create_run",
    "log_batch",
    "set_tag",
    "set_terminated",
    "log_artifact",
    "create_logged_model",
    "log_model_artifact",
    "log_metric",
    "finalize_logged_model",
    "create_registered_model",
    "create_model_version",
    "set_logged_model_tags",
    "set_registered_model_alias",
)
NOWHERE = "http://127.0.0.1:9"


class Death(BaseException):
    """The process is gone: nothing after this is done."""


@pytest.fixture
def at_once(training: Training, mlflow_uri: str, tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a training leaves whose every entry arrives when it is logged."""
    name = request.node.name[:60]
    start_ms = training.time_ms
    tracking = training.tracking(mlflow_uri, tmp_path / "at-once", name)
    training.run(tracking, name)
    assert tracking.n_unsent == 0
    training.time_ms = start_ms
    return content(mlflow_uri, name)


def test_what_arrives_later_is_what_would_have_arrived_at_once(
    at_once: dict[str, Any], training: Training, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training.run(training.tracking(NOWHERE, tmp_path / "storage" / "mlflow-log", "unused"), "late")
    monkeypatch.setattr("tune.tracking.recorder.EXPERIMENT", "late")
    words = ["send-logs", "--storage", str(tmp_path / "storage"), "--mlflow"]
    refused = CliRunner().invoke(app, [*words, NOWHERE])
    assert refused.exit_code == 2
    assert "MLflow: must take the log; found MlflowException with 25 of 25 entries left." in refused.output
    sent = CliRunner().invoke(app, [*words, mlflow_uri])
    assert sent.output == "25 entries sent\n"
    assert content(mlflow_uri, "late") == at_once
    assert not list((tmp_path / "storage" / "mlflow-log" / "files").iterdir())
    again = CliRunner().invoke(app, [*words, mlflow_uri])
    assert again.output == "0 entries sent\n"
    assert content(mlflow_uri, "late") == at_once


def test_an_outage_in_the_middle_leaves_no_trace(
    at_once: dict[str, Any], training: Training, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune.tracking.delivery.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("tune.tracking.delivery.LONGEST_PAUSE_S", 0.01)
    real, down = tune.tracking.sender.log_points, False

    def log_points(*words: Any) -> None:
        if down:
            raise ConnectionError("the server is down")
        real(*words)

    monkeypatch.setattr(tune.tracking.sender, "log_points", log_points)
    with training.tracking(mlflow_uri, tmp_path / "log", "outage") as tracking:
        for i, _ in enumerate(training.steps(tracking, "outage")):
            down = i in (0, 1, 3)
        assert not down
    assert tracking.n_unsent == 0
    assert content(mlflow_uri, "outage") == at_once


def test_a_process_that_dies_again_and_again_doubles_nothing(
    at_once: dict[str, Any], training: Training, mlflow_uri: str, tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    training.run(training.tracking(NOWHERE, folder, "unused"), "dying")
    n_lives = 0
    while True:
        n_lives += 1
        journal = Journal(folder)
        try:
            with pytest.MonkeyPatch.context() as patch:
                die_after(patch, n_lives)
                Sender(journal, mlflow_uri, "dying").send()
            break
        except Death:
            continue
        finally:
            journal.close()
    assert n_lives > 5
    assert content(mlflow_uri, "dying") == at_once
    client = MlflowClient(mlflow_uri)
    (version,) = client.search_model_versions("name = 'dying'")
    assert client.get_registered_model("dying").aliases == {"champion": version.version}


def die_after(patch: pytest.MonkeyPatch, n_requests: int) -> None:
    """The store does that many requests that write; of the last the sender never hears."""
    n_done = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            nonlocal n_done
            answer = real(*words, **named)
            n_done += 1
            if n_done == n_requests:
                raise Death
            return answer

        return call

    for method in WRITING:
        patch.setattr(MlflowClient, method, counted(getattr(MlflowClient, method)))


def test_another_store_gets_everything_but_the_files_that_are_gone(
    training: Training, mlflow_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "log"
    training.run(training.tracking(mlflow_uri, folder, "first"))
    journal = Journal(folder)
    try:
        sender = Sender(journal, mlflow_uri, "second")
        sender.send()
    finally:
        journal.close()
    assert sender.n_refused == 3
    assert "MLflow does not take FileLogged of run s0-e01 (1 files are gone); the rest is sent." in caplog.messages
    first, second = content(mlflow_uri, "first"), content(mlflow_uri, "second")
    assert {name: run[:-1] for name, run in first.items()} == {name: run[:-1] for name, run in second.items()}
    journal = Journal(folder)  # the note of the first store lost: nothing is refused where all the files are
    try:
        for note in folder.glob("sent-*"):
            note.unlink()
        sender = Sender(journal, mlflow_uri, "first")
        sender.send()
    finally:
        journal.close()
    assert sender.n_refused == 0
    assert content(mlflow_uri, "first") == first


def test_send_logs_refuses_in_words(training: Training, tmp_path: Path) -> None:
    words = ["send-logs", "--mlflow", NOWHERE, "--storage"]
    nothing = CliRunner().invoke(app, [*words, str(tmp_path)])
    assert nothing.exit_code == 2
    assert f"folder {tmp_path.name}: must hold the log of a training; found none." in nothing.output
    journal = Journal(tmp_path / "mlflow-log")
    try:
        busy = CliRunner().invoke(app, [*words, str(tmp_path)])
    finally:
        journal.close()
    assert busy.exit_code == 2
    assert "MLflow log: must not be in use; found another process." in busy.output


def test_send_logs_refuses_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.jsonl").touch()

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tune.tracking.journal.Journal", type("ReadOnly", (Journal,), {"__init__": read_only}))
    result = CliRunner().invoke(app, ["send-logs", "--mlflow", NOWHERE, "--storage", str(tmp_path)])
    assert result.exit_code == 2
    assert "what was sent is noted there; found Read-only file system. Allow writing there" in result.output
