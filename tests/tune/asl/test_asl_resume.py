"""A training on ASL images that is stopped or killed goes on where it was, and nobody can tell from what comes out."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from typer.testing import CliRunner

from pool.errors import OutputError, SettingsError
from pool.manifest import PoolManifest
from pool.networks import NetworkSpec
from tests.tune.asl.test_asl_training import recipe, rings
from tune.__main__ import app
from tune.asl.seed_folder import STATE_NAME
from tune.asl.sweep_folder import GO_ON
from tune.asl.train import train_asl
from tune.asl.training import AslTraining
from tune.errors import TrainingError
from tune.reports import EpochReport

ROOT = Path(__file__).parents[3]


def states(storage: Path) -> dict[str, Any]:
    """The last state of every seed, without what a clock decides."""
    found = {}
    for file in sorted(storage.glob(f"seeds/*/{STATE_NAME}")):
        state = torch.load(file, weights_only=True)
        reports = [(r["epoch"], r["train_loss"], r["validation_dice"], r["learning_rate"]) for r in state["reports"]]
        found[file.parent.name] = {**state["training"], "reports": reports}
    return found


def assert_same_bits(one: Any, other: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_bits(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert_same_bits(a, b)
    else:
        assert one == other


def stopping_after(seed: int, epoch: int) -> Callable[[EpochReport], None]:
    def on_epoch(report: EpochReport) -> None:
        if (report.seed, report.epoch) == (seed, epoch):
            raise KeyboardInterrupt

    return on_epoch


@pytest.mark.parametrize("kind", ["mcd-unet", "prob-unet"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stopped_training_comes_out_with_the_bits_of_one_never_stopped(
    tmp_path: Path, mlflow_uri: str, kind: str, precision: str
) -> None:
    network = NetworkSpec(kind, 4, 1, 1, 2)
    settings = recipe(network=network, seeds=(1, 2), n_epochs=4, schedule="cosine", precision=precision)
    images, never, stopped = rings(12), tmp_path / "never", tmp_path / "stopped"
    whole = train_asl(settings, images, tmp_path / "whole", storage=never)
    with pytest.raises(KeyboardInterrupt):
        train_asl(settings, images, tmp_path / "pool", mlflow_uri, on_epoch=stopping_after(2, 3), storage=stopped)
    assert states(stopped)["seed-2"]["epoch"] == 3
    told: list[tuple[int, int]] = []
    resumed = train_asl(
        settings,
        images,
        tmp_path / "pool",
        mlflow_uri,
        on_epoch=lambda report: told.append((report.seed, report.epoch)),
        storage=stopped,
        resume=True,
    )
    assert told == [(2, 4)]
    assert resumed == whole
    assert_same_bits(states(stopped), states(never))
    assert len(list((stopped / "seeds" / "seed-2").glob("epoch-*"))) == 1
    client = MlflowClient(mlflow_uri)
    experiments = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.pool_sha256 = '{resumed.sha256()}'")
    seeds = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and tags.kind = 'seed'")
    for seed in seeds:
        assert seed.info.status == "FINISHED"
        history = client.get_metric_history(seed.info.run_id, "validation_dice")
        assert [point.step for point in history] == [1, 2, 3, 4]


def test_a_killed_command_loses_an_epoch_at_most(tmp_path: Path) -> None:
    words = ["asl", "train", "--preset", "quick", "--studies", "4", "--width", "2", "--poolings", "1", "--threads", "1"]
    words += ["--epochs", "30", "--storage", str(tmp_path / "storage"), "--out", str(tmp_path / "pool")]
    command = [sys.executable, "-u", "-m", "tune", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "epoch 3 of 30" in line:
                process.kill()
                break
    told = states(tmp_path / "storage")["seed-1"]["epoch"]
    assert 3 <= told < 30
    assert not (tmp_path / "pool").exists()
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 2
    assert "storage folder storage: must not hold another training" in again.output
    other = CliRunner().invoke(app, [*words, "--resume", "--batch", "4"])
    assert other.exit_code == 2
    assert "can be resumed only as it was started; found batch_size 4 instead of 12" in other.output
    done = CliRunner().invoke(app, [*words, "--resume"])
    assert done.exit_code == 0, done.output
    epochs = [int(found) for found in re.findall(r"epoch (\d+) of 30", done.output)]
    assert epochs == list(range(told + 1, 31))
    assert PoolManifest.load(tmp_path / "pool").n_members == 1


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    settings, images = recipe(n_epochs=1), rings(6)
    with pytest.raises(SettingsError, match="can be resumed only from a storage folder; found none"):
        train_asl(settings, images, tmp_path / "pool", resume=True)
    with pytest.raises(SettingsError, match=r"must hold the training to resume; found no training\.json"):
        train_asl(settings, images, tmp_path / "pool", storage=tmp_path / "storage", resume=True)
    train_asl(settings, images, tmp_path / "pool", storage=tmp_path / "storage")
    with pytest.raises(OutputError, match="must be new or empty"):
        train_asl(settings, images, tmp_path / "pool", storage=tmp_path / "storage", resume=True)
    with pytest.raises(SettingsError, match="found data_sha256 .* instead of "):
        train_asl(settings, rings(8), tmp_path / "again", storage=tmp_path / "storage", resume=True)
    again = train_asl(settings, images, tmp_path / "again", storage=tmp_path / "storage", resume=True)
    assert again == PoolManifest.load(tmp_path / "pool")  # nothing was left to train


def test_a_training_goes_on_in_the_arithmetic_it_was_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, images, storage = recipe(n_epochs=1), rings(6), tmp_path / "storage"
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": False}, raising=False)
    train_asl(settings, images, tmp_path / "pool", storage=storage)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True}, raising=False)
    with pytest.raises(SettingsError, match="only as it was started; found precision bfloat16 instead of float32"):
        train_asl(settings, images, tmp_path / "again", storage=storage, resume=True)
    monkeypatch.undo()
    threads = torch.get_num_threads()
    monkeypatch.setattr("torch.get_num_threads", lambda: threads + 1)
    with pytest.raises(SettingsError, match=f"threads {threads + 1} instead of {threads}"):
        train_asl(settings, images, tmp_path / "again", storage=storage, resume=True)


@pytest.mark.parametrize("damage", ["half", "empty", "foreign", "weights"])
def test_a_damaged_state_is_a_sentence_and_its_seed_can_begin_anew(tmp_path: Path, damage: str) -> None:
    settings, images, storage = recipe(n_epochs=1), rings(6), tmp_path / "storage"
    whole = train_asl(settings, images, tmp_path / "pool", storage=storage)
    seed = storage / "seeds" / "seed-1"
    state, content = seed / STATE_NAME, (seed / STATE_NAME).read_bytes()
    if damage == "weights":
        shutil.rmtree(seed / "epoch-0001")
    elif damage == "foreign":
        torch.save({"training": {}}, state)
    else:
        state.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    found = "no weights in epoch-0001" if damage == "weights" else r"a damaged state\.pt"
    with pytest.raises(TrainingError, match=f"folder storage/seeds/seed-1: .* found {found}.* Remove that folder"):
        train_asl(settings, images, tmp_path / "again", storage=storage, resume=True)
    shutil.rmtree(seed)
    assert train_asl(settings, images, tmp_path / "again", storage=storage, resume=True) == whole


def test_a_full_disk_names_what_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tune.asl.seed_folder._save", full)
    for i, (storage, go_on, said) in enumerate(
        [
            (tmp_path / "storage", None, "--resume goes on"),
            (None, None, "then train again, with --storage"),
            (tmp_path / "state", GO_ON, "the same command goes on where it was"),
        ]
    ):
        with pytest.raises(OutputError, match=f"state of seed 1, epoch 1: .* Free some space; {said}"):
            train_asl(recipe(n_epochs=1), rings(6), tmp_path / f"pool-{i}", storage=storage, go_on=go_on)


def test_a_state_of_another_seed_is_refused() -> None:
    training, validation = rings(6).split(0.3)
    state = AslTraining(recipe(), 1, training, validation).state()
    with pytest.raises(TrainingError, match="seed 2: can resume only with the settings and images"):
        AslTraining(recipe(), 2, training, validation).load_state(state)
