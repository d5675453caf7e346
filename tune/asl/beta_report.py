"""A sweep over beta as files, words, and a run in MLflow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pool.evaluation.paired_change import Change
from pool.evaluation.partial_volume import OutlineErrors
from pool.figures.outline_errors import draw_balance, draw_errors, draw_steps
from tune.asl.beta_sweep import BetaSweep
from tune.asl.partial_volume import moved_in_words
from tune.asl.report import new_figure, png, write_files
from tune.asl.tracking import Logged, log_run, network_run

REPORT, FIGURE = "beta-sweep.json", "beta-sweep.png"
STEPS_A_BETA = 1000
"""MLflow's curves have whole steps: beta in thousandths."""


def write_sweep(sweep: BetaSweep, out_dir: Path) -> list[Path]:
    """Write figure and report, the report last.

    Raises:
        OutputError: the folder cannot be written.
    """
    betas, errors = [point.beta for point in sweep.points], [point.errors for point in sweep.points]
    intervals = (
        [point.false_positive_interval for point in sweep.points],
        [point.false_negative_interval for point in sweep.points],
    )
    figure, (left, middle, right) = new_figure(1, 3)
    draw_errors(betas, errors, intervals, (*sweep.others, sweep.thin.errors, sweep.thick.errors), left)
    draw_steps(
        [step.betas for step in sweep.steps],
        [step.false_positive for step in sweep.steps],
        [step.false_negative for step in sweep.steps],
        middle,
    )
    draw_balance(betas, errors, right)
    files = {FIGURE: png(figure), REPORT: json.dumps(sweep.to_dict(), indent=1).encode() + b"\n"}
    return write_files(out_dir, files)


def sweep_in_words(sweep: BetaSweep) -> Iterator[str]:
    """What the paper says of its networks, said of these."""
    yield f"with rising beta, {sweep.n_images} images, changes with 95 % intervals over subjects (pixels an image):"
    for step in sweep.steps:
        changes = f"false positives {_in_words(step.false_positive)}; false negatives {_in_words(step.false_negative)}"
        yield f"  {step.betas[0]:g} to {step.betas[1]:g}: {changes}"
    rises, falls = ("monotone within the noise" if always else "NOT monotone" for always in sweep.monotone())
    n_rise, n_fall = (sum(step.shown[i] for step in sweep.steps) for i in (0, 1))
    n = len(sweep.steps)
    yield f"false positives {rises}, rise beyond it at {n_rise} of {n} steps; false negatives {falls}, fall at {n_fall}"
    for moved in (sweep.thin, sweep.thick):
        yield moved_in_words(moved)


def log_sweep(uri: str, sweep: BetaSweep, files: Sequence[Path]) -> bool:
    """A run with curves over beta (in thousandths) and the files, below it a run a network; False after a warning."""
    curves = [(_metrics(point.errors), round(STEPS_A_BETA * point.beta)) for point in sweep.points]
    levels = {
        f"{errors.name}/{key}": value
        for errors in (*sweep.others, sweep.thin.errors, sweep.thick.errors)
        for key, value in _metrics(errors).items()
    }
    networks = [
        network_run(network, sweep.recipe_of(network), _metrics(OutlineErrors.of(network.name, network.rows)))
        for network in sweep.networks
    ]
    tags = {"settings_sha256": sweep.settings.sha256()}
    told = Logged("asl beta sweep", "beta-sweep", [*curves, (levels, 0)], files, tags, children=networks)
    return log_run(uri, told)


def _in_words(change: Change) -> str:
    verdict = "rise" if change.rises else "fall" if change.falls else "within the noise"
    return f"{change.mean:+.1f} ({change.low:+.1f} to {change.high:+.1f}, {verdict})"


def _metrics(errors: OutlineErrors) -> dict[str, float]:
    return {
        "false_positives": errors.n_false_positive,
        "false_negatives": errors.n_false_negative,
        "mean_dice": errors.dice[0],
    }
