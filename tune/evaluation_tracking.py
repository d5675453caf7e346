"""An evaluation in MLflow: figures of every member on the run of its checkpoint, of every rule on the pool's run.

The runs are those that the training made (found by the tags `pool_sha256`, `mlflow.parentRunId` and `member_id`); for a
pool that this store does not know, a run of kind `evaluation` is made, with one below it for each member.

MLflow is a witness, never a condition: where it cannot be reached there is one warning, and the result stands.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pool.evaluation.rules import RULE_NAMES
from pool.evaluation.summary import Accuracy, EvaluatedSet, MemberSummary, Spread
from tune.assemble import software
from tune.evaluation.evaluate import Evaluation
from tune.evaluation.pictures import NUMBERS_FIGURES, MemberPictures
from tune.evaluation.report import REPORT, TABLE
from tune.mlflow_store import connect, find_or_make_experiment, find_run_of_pool, log_batches, runs_below

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "perfusion-pool"
FOLDER = "evaluation"
"""Of artefacts within a run."""
_log = logging.getLogger(__name__)


def log_evaluation(uri: str, evaluation: Evaluation, out_dir: Path, name: str, experiment: str = EXPERIMENT) -> bool:
    """Write an evaluation to MLflow.

    Pictures of outlines are sent for phantom slices alone: pixels of other sets stay in `out_dir`.

    Args:
        uri: tracking URI.
        evaluation: whose report and figures lie in `out_dir`.
        out_dir: the folder of the evaluation.
        name: of the run that is made for a pool that the store does not know.
        experiment: where that run is made.

    Returns:
        Whether everything was written; if not, there was a warning.
    """
    try:
        client = connect(uri)
        runs = _find_runs(client, evaluation)
        if runs is None:
            runs = _make_runs(client, evaluation, name, find_or_make_experiment(client, experiment, uri))
        parent_id, children = runs
        _log_parent(client, parent_id, evaluation, out_dir)
        pictures = MemberPictures(evaluation)
        for member_id, run_id in children.items():
            _log_member(client, run_id, member_id, evaluation, pictures)
    except Exception as error:
        text = (
            "MLflow could not be written to (%s); give the same command again once it can be: no slice is swept twice."
        )
        _log.warning(text, type(error).__name__)
        return False
    return True


def _find_runs(client: MlflowClient, evaluation: Evaluation) -> tuple[str, dict[str, str]] | None:
    """The pool's run, that of a training rather than of an evaluation, and its members' runs by member id."""
    parent = find_run_of_pool(client, evaluation.pool.manifest.sha256())
    if parent is None:
        return None
    below = runs_below(client, str(parent.info.experiment_id), parent.info.run_id)
    children = {run.data.tags["member_id"]: run.info.run_id for run in below if "member_id" in run.data.tags}
    wanted = [member.id for member in evaluation.pool.manifest.of_patches]
    missing = [member_id for member_id in wanted if member_id not in children]
    children |= _make_children(client, str(parent.info.experiment_id), parent.info.run_id, missing)
    return parent.info.run_id, {member_id: children[member_id] for member_id in wanted}


def _make_runs(
    client: MlflowClient, evaluation: Evaluation, name: str, experiment_id: str
) -> tuple[str, dict[str, str]]:
    manifest = evaluation.pool.manifest
    tags = {"kind": "evaluation", "pool_sha256": manifest.sha256(), "code": software()}
    run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
    with _closed(client, run_id):
        return run_id, _make_children(client, experiment_id, run_id, [member.id for member in manifest.of_patches])


def _make_children(client: MlflowClient, experiment_id: str, parent_id: str, member_ids: list[str]) -> dict[str, str]:
    made = {}
    for member_id in member_ids:
        tags = {"mlflow.parentRunId": parent_id, "kind": "evaluation", "member_id": member_id, "member": "true"}
        made[member_id] = client.create_run(experiment_id, run_name=member_id, tags=tags).info.run_id
        client.set_terminated(made[member_id], "FINISHED")
    return made


@contextmanager
def _closed(client: MlflowClient, run_id: str) -> Iterator[None]:
    status = "FAILED"
    try:
        yield
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status)


def _log_parent(client: MlflowClient, run_id: str, evaluation: Evaluation, out_dir: Path) -> None:
    metrics: dict[str, float] = {}
    for item in evaluation.sets:
        evaluated = item.evaluated
        for rule in RULE_NAMES:
            start = f"{evaluated.name}/{rule}"
            metrics |= _accuracy(start, evaluated.rule_accuracy(rule))
            metrics[f"{start}/mean_regret"] = evaluated.mean_regret(rule)
        metrics[f"{evaluated.name}/n_slices"] = float(len(evaluated.slices))
        metrics[f"{evaluated.name}/n_subjects"] = float(evaluated.n_subjects)
    log_batches(client, run_id, metrics=[(metrics, 0)])
    for file in (REPORT, TABLE, *NUMBERS_FIGURES):
        client.log_artifact(run_id, str(out_dir / file), FOLDER)
    for item in evaluation.sets:
        if item.source.simulated:
            client.log_artifact(run_id, str(out_dir / f"outlines-{item.evaluated.name}.png"), FOLDER)


def _log_member(
    client: MlflowClient, run_id: str, member_id: str, evaluation: Evaluation, pictures: MemberPictures
) -> None:
    metrics: dict[str, float] = {}
    for item in evaluation.sets:
        metrics |= _member(item.evaluated, item.evaluated.member_summary(member_id))
    log_batches(client, run_id, metrics=[(metrics, 0)])
    if (png := pictures.png(member_id)) is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outline.png"  # the same name for all members: the UI shows them side by side
            path.write_bytes(png)
            client.log_artifact(run_id, str(path), FOLDER)


def _member(evaluated: EvaluatedSet, member: MemberSummary) -> dict[str, float]:
    return {
        **_accuracy(evaluated.name, member.accuracy),
        **_spread(f"{evaluated.name}/u_pp", member.u_pp),
        **_spread(f"{evaluated.name}/u_tot", member.u_tot),
        f"{evaluated.name}/n_chosen": float(member.n_chosen),
        f"{evaluated.name}/n_ineligible": float(member.n_ineligible),
    }


def _accuracy(start: str, found: Accuracy) -> dict[str, float]:
    """Charts take no infinity: a distance is left out where slices have no outline, whose number stands beside it."""
    distances = {"mean_hd95_mm": found.mean_hd95_mm, "median_hd95_mm": found.median_hd95_mm}
    return {
        **_spread(f"{start}/dice", found.dice),
        f"{start}/least_dice": found.least_dice,
        f"{start}/n_failed": found.n_failed,
        f"{start}/n_without_outline": float(found.n_without_outline),
        **{f"{start}/{key}": value for key, value in distances.items() if math.isfinite(value)},
    }


def _spread(start: str, found: Spread | None) -> dict[str, float]:
    if found is None:
        return {}
    first, last = start.rsplit("/", 1)
    return {f"{first}/mean_{last}": found.mean} | ({f"{first}/sd_{last}": found.sd} if found.sd is not None else {})
