"""An ASL evaluation in MLflow: its numbers and figures on the run of the pool's training, or on one of its own.

MLflow is a witness, never a condition: where it cannot be reached there is one warning, and the result stands.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pool.manifest import PoolManifest
from tune.asl.evaluate import AslEvaluation
from tune.assemble import software
from tune.mlflow_store import connect, find_or_make_experiment, find_run_of_pool, log_batches
from tune.tracking import EXPERIMENT

FOLDER = "asl"
"""Of artefacts within a run, and first part of the metrics' names."""
_log = logging.getLogger(__name__)


def log_asl_evaluation(
    uri: str,
    evaluation: AslEvaluation,
    manifest: PoolManifest,
    files: Sequence[Path],
    experiment: str = EXPERIMENT,
) -> bool:
    """Write an evaluation to MLflow.

    Args:
        uri: tracking URI.
        evaluation: its numbers.
        manifest: of the member's pool, by whose hash the training's run is found.
        files: report, tables and figures, all of phantoms.
        experiment: where a run is made for a pool that the store does not know.

    Returns:
        Whether everything was written; if not, there was a warning.
    """
    try:
        client, sha256 = connect(uri), manifest.sha256()
        found = find_run_of_pool(client, sha256)
        if found is not None:
            run_id = found.info.run_id
        else:
            tags = {"kind": "evaluation", "pool_sha256": sha256, "code": software()}
            made_in = find_or_make_experiment(client, experiment, uri)
            run_id = client.create_run(made_in, run_name=f"{manifest.name} evaluation", tags=tags).info.run_id
        log_batches(client, run_id, metrics=[(metrics(evaluation), 0)])
        for file in files:
            client.log_artifact(run_id, str(file), FOLDER)
        if found is None:
            client.set_terminated(run_id, "FINISHED")
    except Exception as error:
        _log.warning("MLflow could not be written to (%s); the evaluation's files are whole.", type(error).__name__)
        return False
    return True


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
