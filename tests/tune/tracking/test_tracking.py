"""What a training leaves in MLflow, and what the user hears, when MLflow fails now and then, for good, or is cut."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import tune.tracking.delivery
from tests.tune.tracking.conftest import Training, report
from tune.tracking import Tracking

Heard = Callable[[], list[str]]
KEPT = "MLflow could not be written to (%s); training goes on, what it logs is kept to be sent later."


def runs_of(uri: str, experiment: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {run.info.run_name: run for run in found}


def fail_at(monkeypatch: pytest.MonkeyPatch, method: str, act: Callable[[int], None]) -> None:
    """`MlflowClient.<method>` first does `act(n)` on its n-th call, counted from 1."""
    real, n_calls = getattr(MlflowClient, method), 0

    def maybe_fail(self: MlflowClient, *args: object, **kwargs: object) -> object:
        nonlocal n_calls
        n_calls += 1
        act(n_calls)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, method, maybe_fail)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Heard:
    """What the user was told so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.name == "tune.tracking"]


def test_seeds_and_checkpoints_stand_under_the_pools_run(training: Training, mlflow_uri: str, tmp_path: Path) -> None:
    training.run(training.tracking(mlflow_uri, tmp_path / "log", "family"))
    runs = runs_of(mlflow_uri, "family")
    parent = runs.pop("pool")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {name: run.data.tags["kind"] for name, run in runs.items()} == {
        "seed-0": "seed",
        "seed-1": "seed",
        "s0-e01": "checkpoint",
        "s1-e01": "checkpoint",
    }
    assert {run.info.status for run in (parent, *runs.values())} == {"FINISHED"}
    assert parent.data.tags["pool_sha256"] == training.manifest.sha256()
    assert parent.data.tags["data_sha256"] == "hash"
    assert parent.data.tags["version.mlflow"] == "3.17.2"
    assert parent.data.params["network.width"] == str(training.settings.network.width)
    assert runs["seed-1"].data.metrics == {
        "train_loss": 1.0,
        "validation_dice": 0.6,
        "learning_rate": 1e-3,
        "n_patches_per_s": 101.0,
    }
    member = runs["s0-e01"]
    assert (member.data.tags["member_id"], member.data.tags["member"]) == ("s0-e01", "true")
    assert member.data.tags["weights_sha256"] == training.manifest.members[0].weights_sha256
    client = MlflowClient(mlflow_uri)
    assert [a.path for a in client.list_artifacts(member.info.run_id, "figures")] == ["figures/overlay.png"]
    # the point of a checkpoint's curve has the time of the seed's epoch, not that of the end
    (of_seed,) = client.get_metric_history(runs["seed-0"].info.run_id, "train_loss")
    (of_member,) = client.get_metric_history(member.info.run_id, "train_loss")
    assert of_seed.timestamp == of_member.timestamp


def test_nothing_is_written_without_a_uri(training: Training, tmp_path: Path) -> None:
    training.run(Tracking(None, tmp_path / "log"))
    assert not (tmp_path / "log").exists()


def test_an_unreachable_mlflow_gives_one_warning_and_keeps_everything(
    training: Training, tmp_path: Path, heard: Heard
) -> None:
    tracking = training.tracking("http://127.0.0.1:9", tmp_path / "log", "unreachable")
    training.run(tracking, "anything")
    n_entries = tracking.n_unsent
    assert n_entries > 20
    assert heard() == [
        KEPT % "MlflowException",
        f"{n_entries} entries of the training's log still wait for MLflow, in {tmp_path}/log: "
        "`python -m tune send-logs` sends them.",
    ]
    kept = sorted(path.name for path in (tmp_path / "log" / "files").glob("*/*"))
    assert kept == sorted(["manifest.json", "overlay.png", *2 * ["s0-e01.safetensors", "s1-e01.safetensors"]])


def test_one_failed_request_costs_nothing(
    training: Training, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    def fail(n: int) -> None:
        if n == 2:
            raise OSError("locked")

    fail_at(monkeypatch, "log_batch", fail)
    training.run(training.tracking(mlflow_uri, tmp_path / "log", "transient"))
    found = runs_of(mlflow_uri, "transient")
    assert {name: run.info.status for name, run in found.items()} == dict.fromkeys(
        ("pool", "seed-0", "seed-1", "s0-e01", "s1-e01"), "FINISHED"
    )
    assert [name for name, run in found.items() if run.data.tags.get("member") == "true"] == ["s1-e01", "s0-e01"]
    assert heard() == [KEPT % "OSError"]


def test_a_store_that_fails_is_asked_again_only_after_a_pause_and_at_the_end(
    training: Training, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    monkeypatch.setattr(tune.tracking.delivery, "FIRST_PAUSE_S", 3600.0)
    monkeypatch.setattr(tune.tracking.delivery, "LONGEST_PAUSE_S", 3600.0)
    calls: list[int] = []

    def fail(n: int) -> None:
        calls.append(n)
        raise ConnectionError("gone")

    fail_at(monkeypatch, "log_batch", fail)
    with training.tracking(mlflow_uri, tmp_path / "log", "failing") as tracking:
        tracking.start("pool", training.settings, "hash")
        for epoch in range(1, 10):
            tracking.log_epoch(report(0, epoch))
    assert len(calls) <= 2
    first, last = heard()
    assert first == KEPT % "ConnectionError"
    assert "still wait for MLflow" in last


def test_what_mlflow_will_never_take_does_not_hold_up_the_rest(
    training: Training, mlflow_uri: str, tmp_path: Path, heard: Heard
) -> None:
    first = training.tracking(mlflow_uri, tmp_path / "log", "deleted")
    with first:
        first.start("pool", training.settings, "hash")
    MlflowClient(mlflow_uri).delete_run(runs_of(mlflow_uri, "deleted")["seed-1"].info.run_id)
    training.run(training.tracking(mlflow_uri, tmp_path / "log", "deleted"))
    found = runs_of(mlflow_uri, "deleted")
    assert found.keys() == {"pool", "seed-0", "s0-e01", "s1-e01"}
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert "MLflow does not take RunLogged of run seed-1 (MlflowException); the rest is sent." in heard()


@pytest.mark.parametrize("method", ["log_batch", "log_artifact"])
def test_ctrl_c_while_writing_leaves_no_run_open_and_a_resume_makes_it_whole(
    method: str, training: Training, mlflow_uri: str, tmp_path: Path
) -> None:
    name = f"interrupted in {method}"

    def press_ctrl_c(n: int) -> None:
        if n == (3 if method == "log_batch" else 1):
            os.kill(os.getpid(), signal.SIGINT)

    def write_until_it_is_pressed() -> None:
        with training.tracking(mlflow_uri, tmp_path / "log", name) as tracking:
            for _ in training.steps(tracking):
                pass
            threading.Event().wait(60)

    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray may have left its own
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, method, press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            write_until_it_is_pressed()
    signal.signal(signal.SIGINT, usual)
    found = runs_of(mlflow_uri, name)
    assert found["pool"].info.status == "FAILED"
    assert "KeyboardInterrupt" in found["pool"].data.tags["failure"]
    assert not [run for run in found.values() if run.info.status == "RUNNING"]

    training.run(training.tracking(mlflow_uri, tmp_path / "log", name))
    whole = runs_of(mlflow_uri, name)
    assert {key: run.info.status for key, run in whole.items()} == dict.fromkeys(
        ("pool", "seed-0", "seed-1", "s0-e01", "s1-e01"), "FINISHED"
    )
    assert "failure" not in whole["pool"].data.tags
    assert whole["s0-e01"].info.run_id == found.get("s0-e01", whole["s0-e01"]).info.run_id
    assert whole["pool"].info.run_id == found["pool"].info.run_id
    assert whole["s1-e01"].data.tags["weights_sha256"] == training.manifest.members[1].weights_sha256


def test_a_full_disk_costs_the_log_and_not_the_training(
    training: Training, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tracking = training.tracking(mlflow_uri, tmp_path / "log", "full")
    with tracking:
        tracking.start("pool", training.settings, "hash")
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            tracking.log_epoch(report(0, 1))
            tracking.log_pool(training.manifest, training.pool_dir, [], None)
        tracking.log_epoch(report(1, 1))
    found = runs_of(mlflow_uri, "full")
    assert found["seed-0"].data.metrics == {}
    assert found["seed-1"].data.metrics["validation_dice"] == 0.6
    assert heard() == ["The training's log for MLflow has a gap (No space left on device); training goes on."]


def test_a_log_that_would_be_deleted_is_moved_to_where_it_can_be_sent_from(
    training: Training, tmp_path: Path, heard: Heard
) -> None:
    tracking = training.tracking("http://127.0.0.1:9", tmp_path / "temporary" / "log", "moved")
    training.run(tracking)
    (tmp_path / "kept").mkdir()
    tracking.move_unsent_log(tmp_path / "kept")
    assert (tmp_path / "kept" / "mlflow-log" / "log.jsonl").is_file()
    assert not (tmp_path / "temporary" / "log").exists()
    assert heard()[-1] == f"The log was moved to {tmp_path}/kept, because its storage folder was temporary."
