"""Experiments on ASL images in MLflow: numbers and files on one run, and a run below it for every network trained.

MLflow is a witness, never a condition: where it cannot be reached there is one warning, and the result stands.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pool.manifest import PoolManifest
from tune.asl.evaluate import AslEvaluation
from tune.asl.networks import TestedNetwork
from tune.asl.settings import AslTrainingSettings
from tune.assemble import software
from tune.fields import flat_fields
from tune.mlflow_store import connect, find_or_make_experiment, find_run_of_pool, log_batches
from tune.tracking import EXPERIMENT

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "asl"
"""Of artefacts within a run, and first part of an evaluation's metrics' names."""
Metrics = tuple[dict[str, float], int]
"""Values by name, and their step."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Logged:
    """What a run tells."""

    name: str
    kind: str
    """Tag of a run that is made."""
    metrics: Sequence[Metrics]
    files: Sequence[Path] = ()
    """All of phantoms."""
    tags: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    pool_sha256: str | None = None
    """The run of this pool's training is written to instead, if the store knows it."""
    children: Sequence[Logged] = ()
    """Runs below it."""


def log_run(uri: str, told: Logged, experiment: str = EXPERIMENT) -> bool:
    """Write a run to MLflow.

    Args:
        uri: tracking URI.
        told: what it tells.
        experiment: where a run is made.

    Returns:
        Whether everything was written; if not, there was a warning.
    """
    try:
        client = connect(uri)
        found = find_run_of_pool(client, told.pool_sha256) if told.pool_sha256 is not None else None
        if found is not None:
            _write(client, str(found.info.run_id), told)
        else:
            _write_new(client, find_or_make_experiment(client, experiment, uri), told, {})
    except Exception as error:
        _log.warning("MLflow could not be written to (%s); the %s's files are whole.", type(error).__name__, told.kind)
        return False
    return True


def _write_new(client: MlflowClient, experiment_id: str, told: Logged, more_tags: dict[str, str]) -> None:
    tags = {"kind": told.kind, "code": software(), **told.tags, **more_tags}
    if told.pool_sha256 is not None:
        tags["pool_sha256"] = told.pool_sha256
    run_id = str(client.create_run(experiment_id, run_name=told.name, tags=tags).info.run_id)
    _write(client, run_id, told)
    for child in told.children:
        _write_new(client, experiment_id, child, {"mlflow.parentRunId": run_id})
    client.set_terminated(run_id, "FINISHED")


def _write(client: MlflowClient, run_id: str, told: Logged) -> None:
    log_batches(client, run_id, told.params, told.metrics)
    for file in told.files:
        client.log_artifact(run_id, str(file), FOLDER)


def network_run(found: TestedNetwork, settings: AslTrainingSettings, metrics: dict[str, float]) -> Logged:
    """The run of a network of an experiment: its recipe, its curves, what it came to.

    Args:
        found: the network.
        settings: its recipe.
        metrics: of the test images.
    """
    names = ("validation_dice", "train_loss", "learning_rate")
    curves = [({name: getattr(report, name) for name in names}, report.epoch) for report in found.epochs]
    params = {key: str(value) for key, value in flat_fields(settings.to_dict()).items()}
    return Logged(found.name, "network", [*curves, (metrics, 0)], params=params)


def log_asl_evaluation(uri: str, evaluation: AslEvaluation, manifest: PoolManifest, files: Sequence[Path]) -> bool:
    """An evaluation on the run of the pool's training, or on one of its own.

    Args:
        uri: tracking URI.
        evaluation: its numbers.
        manifest: of the member's pool, by whose hash the training's run is found.
        files: report, tables and figures.

    Returns:
        Whether everything was written; if not, there was a warning.
    """
    name, sha256 = f"{manifest.name} evaluation", manifest.sha256()
    return log_run(uri, Logged(name, "evaluation", [(metrics(evaluation), 0)], files, pool_sha256=sha256))


def metrics(evaluation: AslEvaluation) -> dict[str, float]:
    """Numbers by the names that MLflow shows."""
    summary, start = evaluation.summary, f"{FOLDER}/{evaluation.settings.preset}"
    values = {f"{start}/mean_dice_{kind}": mean for kind, (mean, _) in summary.dice.items()}
    values |= {f"{start}/sd_dice_{kind}": sd for kind, (_, sd) in summary.dice.items()}
    values |= {
        f"{start}/n_images": float(summary.n_images),
        f"{start}/false_positives": summary.n_false_positive,
        f"{start}/false_negatives": summary.n_false_negative,
        f"{start}/r2_uncertainties": summary.mcd_on_dice_uncertainty.r_squared,
        f"{start}/r2_dice_mcd_uncertainty": summary.dice_on_mcd_uncertainty.r_squared,
    }
    if summary.flow is not None:
        values |= {f"{start}/r2_flow": summary.flow.r_squared, f"{start}/concordance_flow": summary.flow.concordance}
    return values
