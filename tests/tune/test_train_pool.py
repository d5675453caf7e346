"""The whole of `tune`, with real Ray and real MLflow, on the smallest network and a handful of phantom slices."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

import tune.trainable
from pool.errors import OutputError, PoolError, SettingsError
from pool.manifest import PoolManifest, verify_pool
from pool.member import Pool
from pool.weights import load_weights
from tune.errors import TooFewMembersError
from tune.progress import TrainingProgress
from tune.resources import Resources
from tune.run import train_pool
from tune.settings import TrainingSettings
from tune.storage import RECORD_NAME
from tune.training import EpochReport, SeedTraining, StepProgress


@dataclass(frozen=True)
class Trained:
    """A training that ran to its end without any trouble."""

    settings: TrainingSettings
    manifest: PoolManifest
    folder: Path
    seen: tuple[TrainingProgress, ...]


@pytest.fixture(scope="module")
def trained(
    local_ray: None, data: Path, tiny: TrainingSettings, mlflow_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    """Two seeds, three epochs, the best two of each."""
    folder, seen = tmp_path_factory.mktemp("trained"), list[TrainingProgress]()
    settings = dataclasses.replace(tiny, n_epochs=3, n_checkpoints=2)
    manifest = train_pool(
        settings, data, folder / "pool", mlflow_uri, folder / "storage", seen.append, name="untroubled"
    )
    return Trained(settings, manifest, folder, tuple(seen))


def family(uri: str, name: str) -> tuple[Run, dict[str, Run]]:
    """The parent run of that name, and its checkpoints' runs by member id."""
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("perfusion-pool").experiment_id])
    (parent,) = [run for run in runs if run.info.run_name == name]
    below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    children = [run for run in below if run.data.tags["kind"] == "checkpoint"]
    assert len({run.data.tags["member_id"] for run in children}) == len(children)
    return parent, {run.data.tags["member_id"]: run for run in children}


def test_the_pool_is_whole_and_progress_reaches_its_end(trained: Trained) -> None:
    assert [member.seed for member in trained.manifest.members] == [1, 1, 2, 2]
    assert verify_pool(trained.folder / "pool") == trained.manifest
    assert len(Pool.load(trained.folder / "pool").members) == 4
    assert trained.seen[-1].share == 1.0
    assert all(seed.finished and seed.validation_dice is not None for seed in trained.seen[-1].seeds)


def test_every_checkpoint_is_a_comparable_run_and_members_carry_weights(trained: Trained, mlflow_uri: str) -> None:
    client = MlflowClient(mlflow_uri)
    parent, children = family(mlflow_uri, "untroubled")
    experiment = client.get_experiment(parent.info.experiment_id)
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    store = Path(mlflow_uri.removeprefix("sqlite:///"))
    assert experiment.artifact_location == (store.parent / "mlflow-artifacts").as_uri()
    assert parent.data.tags["settings_sha256"] == trained.settings.sha256()
    assert parent.data.tags["pool_sha256"] == trained.manifest.sha256()
    assert parent.data.params["network.width"] == "4"
    assert children.keys() == {f"s{seed}-e{epoch:02d}" for seed in (1, 2) for epoch in (1, 2, 3)}
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    members = {member.id: member for member in trained.manifest.members}
    for member_id, run in children.items():
        assert run.info.run_name == member_id
        assert run.data.metrics.keys() == {"validation_dice", "train_loss"}
        assert (run.data.params["seed"], run.data.params["epoch"]) == (member_id[1], member_id[-1])
        assert run.data.params["network.width"] == "4"
        assert len(client.get_metric_history(run.info.run_id, "train_loss")) == int(member_id[-1])
        stored = [a.path for a in client.list_artifacts(run.info.run_id, "weights")]
        drawn = [a.path for a in client.list_artifacts(run.info.run_id, "figures")]
        assert drawn == (["figures/overlay.png"] if member_id in members else [])
        assert run.data.tags["member"] == ("true" if member_id in members else "false")
        assert stored == ([f"weights/{member_id}.safetensors"] if member_id in members else [])
        if member_id in members:
            assert run.data.metrics["validation_dice"] == pytest.approx(members[member_id].validation_dice)
            assert run.data.tags["weights_sha256"] == members[member_id].weights_sha256


def test_a_resume_chooses_other_members_without_training_and_without_a_second_set_of_runs(
    trained: Trained, data: Path, mlflow_uri: str, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(trained.folder / "storage", storage)
    shutil.rmtree(storage / "mlflow-log")  # a parent of its own
    strict = dataclasses.replace(trained.settings, least_validation_dice=1.0)
    with pytest.raises(TooFewMembersError, match="seed 1: needs 2 checkpoints.*found 0 of 3"):
        train_pool(strict, data, tmp_path / "pool", mlflow_uri, storage, name="chosen anew", resume=True)
    assert not (tmp_path / "pool").exists()
    parent, children = family(mlflow_uri, "chosen anew")
    assert parent.info.status == "FAILED"
    assert "TooFewMembersError" in parent.data.tags["failure"]
    assert {run.data.tags["member"] for run in children.values()} == {"false"}
    assert len(children) == 6

    seen: list[TrainingProgress] = []
    all_three = dataclasses.replace(trained.settings, n_checkpoints=3)
    manifest = train_pool(all_three, data, tmp_path / "pool", mlflow_uri, storage, seen.append, resume=True)
    assert not [p for p in seen if any(not seed.finished for seed in p.seeds)]
    again, children_again = family(mlflow_uri, "chosen anew")
    assert again.info.run_id == parent.info.run_id
    assert again.info.status == "FINISHED"
    assert "failure" not in again.data.tags
    assert again.data.tags["resumed_with"] == "n_checkpoints 3, least_validation_dice 0"
    assert {key: run.info.run_id for key, run in children_again.items()} == {
        key: run.info.run_id for key, run in children.items()
    }
    assert {run.data.tags["member"] for run in children_again.values()} == {"true"}
    before = {member.id: member.weights_sha256 for member in trained.manifest.members}
    assert before.items() <= {member.id: member.weights_sha256 for member in manifest.members}.items()


def dying_once(event: Path) -> Callable[[dict[str, Any]], None]:
    """A trial whose process is killed after the next epoch that it has saved, if `event` does not exist yet."""

    def train_trial(config: dict[str, Any]) -> None:
        run_on = SeedTraining.epochs

        def epochs(self: SeedTraining, on_step: Callable[[StepProgress], None] | None = None) -> Iterator[EpochReport]:
            for report in run_on(self, on_step):
                yield report
                if not event.exists():
                    event.touch()
                    os.kill(os.getpid(), signal.SIGKILL)

        SeedTraining.epochs = epochs  # type: ignore[method-assign]  # in the trial's own process
        tune.trainable.train_trial(config)

    return train_trial


def test_ctrl_c_and_a_killed_trial_leave_no_trace_in_the_weights(
    trained: Trained, data: Path, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(trained.settings, seeds=(1,))

    def press_ctrl_c(progress: TrainingProgress) -> None:
        if progress.seeds[0].validation_dice is not None and progress.seeds[0].epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    places = (tmp_path / "pool", mlflow_uri, tmp_path / "storage")
    with pytest.raises(KeyboardInterrupt):
        train_pool(settings, data, *places, press_ctrl_c, name="troubled")
    assert not (tmp_path / "pool").exists()
    parent, children = family(mlflow_uri, "troubled")
    assert parent.info.status == "FAILED"
    assert "KeyboardInterrupt" in parent.data.tags["failure"]
    assert not children

    killed = tmp_path / "killed"
    monkeypatch.setattr("tune.trainable.train_trial", dying_once(killed))
    manifest = train_pool(settings, data, *places, resume=True)
    assert killed.exists()
    expected = [member for member in trained.manifest.members if member.seed == 1]
    assert list(manifest.members) == expected
    parent, children = family(mlflow_uri, "troubled")
    assert {run.info.status for run in (parent, *children.values())} == {"FINISHED"}
    assert len(children) == 3
    # Ctrl-C came between the report of epoch 2 and its checkpoint: the epoch that was trained again is the same point
    client = MlflowClient(mlflow_uri)
    (seed,) = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and tags.kind = 'seed'"
    )
    assert seed.info.status == "FINISHED"
    for name in ("validation_dice", "train_loss", "learning_rate", "n_patches_per_s"):
        assert [point.step for point in client.get_metric_history(seed.info.run_id, name)] == [1, 2, 3]


def test_a_training_that_starts_from_a_pool_says_so_and_no_other_resumes_it(
    trained: Trained, data: Path, mlflow_uri: str, tmp_path: Path
) -> None:
    settings = dataclasses.replace(trained.settings, n_epochs=1, n_checkpoints=1, learning_rate=1e-9, seeds=(1,))
    begun = trained.folder / "pool"
    storage = tmp_path / "storage"
    tuned = train_pool(settings, data, tmp_path / "pool", mlflow_uri, storage, name="tuned", start_from=begun)
    assert tuned.provenance["start_sha256"] == trained.manifest.sha256()
    assert "start_sha256" not in trained.manifest.provenance
    parent, _ = family(mlflow_uri, "tuned")
    assert parent.data.tags["start_sha256"] == trained.manifest.sha256()
    best = max((m for m in trained.manifest.members if m.seed == 1), key=lambda m: (m.validation_dice, -m.epoch))
    before, after = load_weights(begun, best), load_weights(tmp_path / "pool", tuned.members[0])
    filters = [name for name in before if name.endswith("weight") and before[name].dim() == 4]
    assert all((after[name] - before[name]).abs().max() < 1e-6 for name in filters)
    with pytest.raises(SettingsError, match="another content of the pool to start from"):
        train_pool(settings, data, tmp_path / "again", None, storage, resume=True)


def test_another_training_is_refused_on_resume(trained: Trained, data: Path, tmp_path: Path) -> None:
    storage = trained.folder / "storage"
    assert json.loads((storage / RECORD_NAME).read_text())["settings"] == trained.settings.to_dict()
    with pytest.raises(OutputError, match=r"storage folder storage: must not hold another training; found one\."):
        train_pool(trained.settings, data, tmp_path / "pool", storage_path=storage)
    longer = dataclasses.replace(trained.settings, n_epochs=4)
    with pytest.raises(SettingsError, match=r"training: can be resumed only as it was started.*found n_epochs 4 inst"):
        train_pool(longer, data, tmp_path / "pool", storage_path=storage, resume=True)


def test_data_that_are_not_what_their_manifest_says_are_refused_before_training(
    data: Path, tiny: TrainingSettings, tmp_path: Path
) -> None:
    damaged = tmp_path / "set"
    shutil.copytree(data, damaged)
    shard = damaged / "shard-00001.frames.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    with pytest.raises(PoolError, match=r"shard shard-00001\.frames\.npy: must have the SHA-256 of the manifest"):
        train_pool(tiny, damaged, tmp_path / "pool", storage_path=tmp_path / "storage")
    assert not (tmp_path / "storage").exists()


@pytest.mark.usefixtures("local_ray")
def test_more_than_the_cluster_has_is_refused(data: Path, tiny: TrainingSettings, tmp_path: Path) -> None:
    found = r"a trial's 1000 CPUs and 0 GPUs must exist on one node; found 1 node with 2 CPUs and 0 GPUs\."
    with pytest.raises(SettingsError, match=found):
        train_pool(tiny, data, tmp_path / "pool", resources=Resources(cpus_per_trial=1000))
