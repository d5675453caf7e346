"""MLflow that fails now and then, for good, or is cut off: what stays in the store, and what the user hears."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pool.manifest import MemberEntry, PoolManifest, save_weights
from pool.networks import build_network
from tune.assemble import Candidate, LocalFolder
from tune.samples import seeded_generator
from tune.settings import TrainingSettings
from tune.tracking import MOST_FAILURES, Tracking
from tune.training import EpochReport


def report(epoch: int) -> EpochReport:
    return EpochReport(1, epoch, 0.5, 0.5 + epoch / 10, 1e-3, 100.0, 1.0, 1.0)


CANDIDATES = [Candidate(report(epoch), LocalFolder(Path())) for epoch in (1, 2, 3)]


@pytest.fixture
def pool_dir(tiny: TrainingSettings, tmp_path: Path) -> tuple[PoolManifest, Path]:
    weights = build_network(tiny.network, seeded_generator("test")).state_dict()
    sha256 = save_weights(tmp_path, "s1-e03", weights)
    return PoolManifest("pool", (MemberEntry("s1-e03", 1, 3, 0.8, tiny.network, sha256),)), tmp_path


def runs_of(uri: str, experiment: str) -> dict[str, Run]:
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {run.info.run_name: run for run in found}


def fail_at(monkeypatch: pytest.MonkeyPatch, method: str, calls: Callable[[int], bool], error: BaseException) -> None:
    """`MlflowClient.<method>` raises on those of its calls, counted from 1, for which `calls` holds."""
    real, n_calls = getattr(MlflowClient, method), 0

    def maybe_fail(self: MlflowClient, *args: object, **kwargs: object) -> object:
        nonlocal n_calls
        n_calls += 1
        if calls(n_calls):
            raise error
        return real(self, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, method, maybe_fail)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "tune.tracking"]


def test_an_unreachable_mlflow_gives_one_warning(
    tiny: TrainingSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a store cannot lie inside a file")
    with Tracking(f"sqlite:///{tmp_path}/file/mlflow.db") as tracking:
        tracking.start("pool", tiny, "hash")
        tracking.log_epoch(report(1))
        tracking.log_checkpoints(CANDIDATES, tiny.network)
    (warning,) = warnings(caplog)
    assert "MLflow could not be started" in warning
    assert tracking.run_id is None


def test_one_failed_request_costs_one_run_and_the_rest_is_written_and_closed(
    tiny: TrainingSettings,
    mlflow_uri: str,
    pool_dir: tuple[PoolManifest, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail_at(monkeypatch, "log_batch", lambda n: n == 2, OSError("locked"))  # 1 is the parent's, 2 the first child's
    with Tracking(mlflow_uri, "transient") as tracking:
        tracking.start("pool", tiny, "hash")
        tracking.log_checkpoints(CANDIDATES, tiny.network)
        tracking.log_pool(*pool_dir)
    found = runs_of(mlflow_uri, "transient")
    assert {name: run.info.status for name, run in found.items()} == {
        "pool": "FINISHED",
        "s1-e01": "FAILED",
        "s1-e02": "FINISHED",
        "s1-e03": "FINISHED",
    }
    assert [name for name, run in found.items() if run.data.tags.get("member") == "true"] == ["s1-e03"]
    assert warnings(caplog) == ["MLflow could not be written to (OSError); training goes on without it."]


def test_after_failures_in_a_row_only_the_end_of_the_parent_is_written(
    tiny: TrainingSettings, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), Tracking(mlflow_uri, "failing") as tracking:
        tracking.start("pool", tiny, "hash")
        calls: list[int] = []
        fail_at(monkeypatch, "log_batch", lambda n: calls.append(n) or True, ConnectionError("gone"))
        for epoch in range(1, 10):
            tracking.log_epoch(report(epoch))
    assert len(calls) == MOST_FAILURES
    assert runs_of(mlflow_uri, "failing")["pool"].info.status == "FINISHED"
    assert len(warnings(caplog)) == 1


@pytest.mark.parametrize("method", ["log_batch", "log_artifact"])
def test_ctrl_c_while_writing_leaves_no_run_open_and_a_resume_makes_it_whole(
    method: str, tiny: TrainingSettings, mlflow_uri: str, pool_dir: tuple[PoolManifest, Path]
) -> None:
    name = f"interrupted in {method}"
    first = Tracking(mlflow_uri, name)

    def write(tracking: Tracking) -> None:
        with tracking:
            tracking.start("pool", tiny, "hash", first.run_id)
            tracking.log_checkpoints(CANDIDATES, tiny.network)
            tracking.log_pool(*pool_dir)

    with pytest.MonkeyPatch.context() as patch:
        # the third batch is the second child's
        fail_at(patch, method, lambda n: n == (3 if method == "log_batch" else 1), KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            write(first)
    found = runs_of(mlflow_uri, name)
    assert found["pool"].info.status == "FAILED"
    assert "KeyboardInterrupt" in found["pool"].data.tags["failure"]
    assert not [run for run in found.values() if run.info.status == "RUNNING"]

    write(Tracking(mlflow_uri, name))
    whole = runs_of(mlflow_uri, name)
    assert {key: run.info.status for key, run in whole.items()} == dict.fromkeys(
        ("pool", "s1-e01", "s1-e02", "s1-e03"), "FINISHED"
    )
    assert "failure" not in whole["pool"].data.tags
    assert whole["s1-e01"].info.run_id == found["s1-e01"].info.run_id
    assert whole["s1-e03"].data.tags["weights_sha256"] == pool_dir[0].members[0].weights_sha256
