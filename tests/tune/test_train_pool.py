"""The whole of `tune`, with real Ray and real MLflow, on the smallest network and a handful of phantom slices."""

from __future__ import annotations

import dataclasses
import io
import logging
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from rich.console import Console
from typer.testing import CliRunner

from pool.errors import OutputError, SettingsError
from pool.manifest import verify_pool
from pool.member import Pool
from pool.phantom.labelled_set import write_labelled_set
from pool.phantom.presets import get_preset
from tune.__main__ import app
from tune.errors import TooFewMembersError
from tune.progress import SeedProgress, TrainingDisplay, TrainingProgress
from tune.resources import Resources
from tune.run import train_pool
from tune.settings import TrainingSettings
from tune.tracking import Tracking
from tune.training import EpochReport


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("labelled") / "set"
    write_labelled_set(folder, get_preset("broad"), n_slices=9, seed=1, shard_size=6)
    return folder


@pytest.mark.usefixtures("local_ray")
def test_members_are_comparable_runs_under_one_parent(data: Path, tiny: TrainingSettings, tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    manifest = train_pool(tiny, data, tmp_path / "pool", uri, on_progress=seen.append, name="test pool")

    assert {m.id for m in manifest.members} == {"s1-e01", "s1-e02", "s2-e01", "s2-e02"}
    assert verify_pool(tmp_path / "pool") == manifest
    assert len(Pool.load(tmp_path / "pool").members) == 4
    assert seen[-1].share == 1.0
    assert all(seed.finished and seed.validation_dice is not None for seed in seen[-1].seeds)

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("perfusion-pool")
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert experiment.artifact_location == (tmp_path / "mlflow-artifacts").as_uri()
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if run.data.tags["kind"] == "pool"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(runs) == 5
    assert len(children) == 4
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.tags["settings_sha256"] == tiny.sha256()
    assert parent.data.tags["pool_sha256"] == manifest.sha256()
    assert parent.data.params["network.width"] == "4"
    for member in manifest.members:
        (run,) = [run for run in children if run.info.run_name == member.id]
        assert run.data.metrics.keys() == {"validation_dice", "train_loss"}
        assert run.data.metrics["validation_dice"] == pytest.approx(member.validation_dice)
        assert len(client.get_metric_history(run.info.run_id, "train_loss")) == member.epoch
        assert run.data.params["seed"] == str(member.seed)
        assert run.data.params["epoch"] == str(member.epoch)
        assert run.data.params["network.width"] == "4"
        assert run.data.tags["weights_sha256"] == member.weights_sha256
        assert [a.path for a in client.list_artifacts(run.info.run_id, "weights")] == [f"weights/{member.weights_name}"]


@pytest.mark.usefixtures("local_ray")
def test_too_few_members_fail_the_parent_run_and_a_resume_does_not_train_again(
    data: Path, tiny: TrainingSettings, tmp_path: Path
) -> None:
    strict = dataclasses.replace(tiny, least_validation_dice=1.0, n_epochs=1, n_checkpoints=1, seeds=(1,))
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(TooFewMembersError, match="seed 1: needs 1 checkpoints.*found 0 of 1"):
        train_pool(strict, data, tmp_path / "pool", uri, tmp_path / "storage")
    assert not (tmp_path / "pool").exists()
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("perfusion-pool").experiment_id])
    assert run.info.status == "FAILED"
    assert "TooFewMembersError" in run.data.tags["failure"]

    with pytest.raises(OutputError, match="storage folder storage: must not hold another training"):
        train_pool(strict, data, tmp_path / "pool", storage_path=tmp_path / "storage")

    seen: list[TrainingProgress] = []
    lenient = dataclasses.replace(strict, least_validation_dice=0.0)
    manifest = train_pool(
        lenient, data, tmp_path / "pool", uri, tmp_path / "storage", seen.append, resume=True, name="resumed"
    )
    assert [m.id for m in manifest.members] == ["s1-e01"]
    assert not [p for p in seen if not p.seeds[0].finished]
    (parent,) = [r for r in client.search_runs(["1"]) if r.data.tags["kind"] == "pool"]
    assert parent.info.run_id == run.info.run_id
    assert parent.info.status == "FINISHED"


def test_an_unreachable_mlflow_gives_one_warning(
    tiny: TrainingSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a store cannot lie inside a file")
    tracking = Tracking(f"sqlite:///{tmp_path}/file/mlflow.db")
    with caplog.at_level(logging.WARNING, logger="tune.tracking"):
        tracking.start("pool", tiny, "hash")
        tracking.log_epoch(EpochReport(1, 1, 0.5, 0.5, 1e-3, 1.0, 1.0, 1.0))
        tracking.fail("reason")
    (warning,) = [record for record in caplog.records if record.name == "tune.tracking"]
    assert "MLflow could not be started" in warning.getMessage()
    assert tracking.run_id is None


@pytest.mark.usefixtures("local_ray")
def test_more_than_the_cluster_has_is_refused(data: Path, tiny: TrainingSettings, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"a trial's 1000 CPUs must exist in the cluster; found 2\."):
        train_pool(tiny, data, tmp_path / "pool", resources=Resources(cpus_per_trial=1000))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "training: needs either --data or --phantom; found neither."),
        (["--phantom", "mars"], "mars"),
        (["--phantom", "broad", "--preset", "fast"], "preset must be one of paper, quick; found 'fast'."),
        (["--data", ".", "--width", "0"], "network spec: width must be a whole number from 1 to 256; found 0."),
    ],
)
def test_the_command_line_refuses_in_one_sentence(arguments: list[str], text: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", "--out", str(tmp_path / "pool"), *arguments])
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


def test_without_a_terminal_progress_is_plain_lines() -> None:
    text = io.StringIO()
    state = SeedProgress(seed=1, n_epochs=4, epoch=2, n_steps_done=5, n_steps=20, train_loss=0.5, validation_dice=0.25)
    with TrainingDisplay(Console(file=text)) as display:
        display(TrainingProgress((state,), elapsed_s=10.0))
    assert "seed 1: epoch 2/4 loss 0.500 Dice 0.250   30 s left" in text.getvalue()
