"""A sweep over beta as files, words, and a run in MLflow."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from pool.errors import OutputError
from pool.evaluation.partial_volume import MovedOutline, OutlineErrors
from pool.figures.outline_errors import draw_balance, draw_errors
from tune.asl.beta_sweep import POOLS, BetaSweep
from tune.asl.report import new_figure, png
from tune.assemble import software
from tune.evaluation.report import write_whole
from tune.mlflow_store import connect, find_or_make_experiment, log_batches
from tune.tracking import EXPERIMENT

REPORT, FIGURE = "beta-sweep.json", "beta-sweep.png"
STEPS_A_BETA = 100
"""MLflow's curves have whole steps: beta in hundredths."""
_log = logging.getLogger(__name__)


def refuse_foreign_folder(out_dir: Path) -> None:
    """Refuse a folder that holds something else, before hours of training.

    Raises:
        OutputError: a file, or a folder with other files than a sweep's.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputError(f"{out_dir.name}", "must be a folder", "a file", "Give another --out.")
    names = [path.name for path in out_dir.iterdir()] if out_dir.exists() else []
    if foreign := [name for name in names if name not in (REPORT, FIGURE, POOLS)]:
        rule = "must be new, empty or an earlier beta sweep"
        raise OutputError(f"folder {out_dir.name}", rule, foreign[0], "Give another --out.")


def write_sweep(sweep: BetaSweep, out_dir: Path) -> list[Path]:
    """Write figure and report, the report last.

    Raises:
        OutputError: the folder cannot be written.
    """
    betas, errors = [point.beta for point in sweep.points], [point.errors for point in sweep.points]
    figure, (left, right) = new_figure(1, 2)
    draw_errors(betas, errors, (*sweep.others, sweep.thin.errors, sweep.thick.errors), left)
    draw_balance(betas, errors, right)
    files = {FIGURE: png(figure), REPORT: json.dumps(sweep.to_dict(), indent=1).encode() + b"\n"}
    for name, data in files.items():
        write_whole(out_dir / name, data)
    return [out_dir / name for name in files]


def errors_in_words(errors: OutlineErrors) -> str:
    """One network, or one outline."""
    mean, sd = errors.dice
    wrong = f"false positives {errors.n_false_positive:5.1f}, false negatives {errors.n_false_negative:5.1f}"
    return f"{errors.name:22s} {wrong} pixels an image, Dice {mean:.3f} ± {sd:.3f}"


def sweep_in_words(sweep: BetaSweep) -> Iterator[str]:
    """What the paper says of its networks, said of these."""
    rises, falls = ("at every step" if always else "not at every step" for always in sweep.monotone())
    yield f"with rising beta false positives rise {rises}, false negatives fall {falls} ({sweep.n_images} images)"
    for moved in (sweep.thin, sweep.thick):
        yield f"{errors_in_words(moved.errors)}; {_flow_in_words(moved)}"


def log_sweep(uri: str, sweep: BetaSweep, files: Sequence[Path], experiment: str = EXPERIMENT) -> bool:
    """A run with curves over beta (in hundredths), and the files; whether everything was written, else a warning."""
    try:
        client = connect(uri)
        tags = {"kind": "beta-sweep", "code": software(), "settings_sha256": sweep.settings.sha256()}
        made_in = find_or_make_experiment(client, experiment, uri)
        run_id = client.create_run(made_in, run_name="asl beta sweep", tags=tags).info.run_id
        curves = [(_metrics(point.errors), round(STEPS_A_BETA * point.beta)) for point in sweep.points]
        levels = {
            f"{errors.name}/{key}": value
            for errors in (*sweep.others, sweep.thin.errors, sweep.thick.errors)
            for key, value in _metrics(errors).items()
        }
        log_batches(client, run_id, metrics=[*curves, (levels, 0)])
        for file in files:
            client.log_artifact(run_id, str(file), "asl")
        client.set_terminated(run_id, "FINISHED")
    except Exception as error:
        _log.warning("MLflow could not be written to (%s); the sweep's files are whole.", type(error).__name__)
        return False
    return True


def _metrics(errors: OutlineErrors) -> dict[str, float]:
    return {
        "false_positives": errors.n_false_positive,
        "false_negatives": errors.n_false_negative,
        "mean_dice": errors.dice[0],
    }


def _flow_in_words(moved: MovedOutline) -> str:
    empty = f", nothing left of {moved.n_empty} studies" if moved.n_empty else ""
    if moved.flow_bias is None:
        return f"no segment with flow{empty}"
    return f"flow {moved.flow_bias:+.2f} mL/min/g over {moved.n_segments} segments{empty}"
