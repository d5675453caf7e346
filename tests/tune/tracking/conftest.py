"""A short training as the recorder sees it, and all that a store holds of an experiment, comparable with another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from pool.manifest import PoolManifest
from tests.samples import tiny_pool
from tune.assemble import Candidate, LocalFolder
from tune.settings import TrainingSettings
from tune.tracking import Tracking
from tune.tracking.registry import RegistryName
from tune.training import EpochReport


def report(seed: int, epoch: int) -> EpochReport:
    return EpochReport(seed, epoch, 1.0 / epoch, 0.5 + epoch / 10, 1e-3 / epoch, 100.0 + epoch, 1.0, 1.0)


@dataclass
class Training:
    """Two seeds, one epoch each, of which `s0-e01` and `s1-e01` become members."""

    settings: TrainingSettings
    manifest: PoolManifest
    pool_dir: Path
    time_ms: int = 1_000_000
    candidates: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.candidates = [Candidate(report(seed, 1), LocalFolder(self.pool_dir)) for seed in (0, 1)]

    def now_ms(self) -> int:
        """A clock that moves a second whenever it is read."""
        self.time_ms += 1000
        return self.time_ms

    def tracking(self, uri: str, folder: Path, experiment: str) -> Tracking:
        return Tracking(uri, folder, experiment, self.now_ms)

    def steps(self, tracking: Tracking, register: str | None = None) -> Iterator[None]:
        """Everything that a training logs; a pause after each call."""
        tracking.start("pool", self.settings, "hash")
        yield
        for seed in self.settings.seeds:
            tracking.log_epoch(report(seed, 1))
            yield
        tracking.log_checkpoints(self.candidates, self.settings.network)
        yield
        name = None if register is None else RegistryName(register)
        tracking.log_pool(self.manifest, self.pool_dir, [("s0-e01", b"picture")], name)
        yield

    def run(self, tracking: Tracking, register: str | None = None) -> None:
        with tracking:
            for _ in self.steps(tracking, register):
                pass


@pytest.fixture
def training(changed: Callable[..., TrainingSettings], tmp_path: Path) -> Training:
    return Training(changed(seeds=(0, 1)), tiny_pool(tmp_path / "pool", 2), tmp_path / "pool")


def content(uri: str, experiment: str) -> dict[str, Any]:
    """Runs, metrics with their times, tags, artefacts and models of an experiment, ids replaced by names."""
    client = MlflowClient(uri)
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    runs = client.search_runs([experiment_id])
    names = {run.info.run_id: run.info.run_name for run in runs}
    assert len(set(names.values())) == len(runs)
    found: dict[str, Any] = {}
    for run in runs:
        tags = {key: value for key, value in run.data.tags.items() if key != "log_id"}
        tags["mlflow.parentRunId"] = names.get(tags.get("mlflow.parentRunId"), "none")
        points = {
            key: [
                (point.value, point.step, point.timestamp) for point in client.get_metric_history(run.info.run_id, key)
            ]
            for key in run.data.metrics
            if not key.endswith("_validation_dice")  # of the logged model, at the time when MLflow made it
        }
        root = Path(run.info.artifact_uri.removeprefix("file://"))
        files = {
            str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        found[run.info.run_name] = (
            run.info.status,
            run.info.start_time,
            run.info.end_time,
            tags,
            run.data.params,
            points,
            files,
        )
    models = client.search_logged_models([experiment_id])
    found["models"] = [
        (str(m.status), m.tags["pool_sha256"], len(client.list_logged_model_artifacts(m.model_id))) for m in models
    ]
    return found
