"""A sweep over lambda as files, words, and a run in MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pool.figures.kl_weights import draw_accuracy, draw_fit
from tune.asl.kl_sweep import KlPoint, KlSweep
from tune.asl.report import new_figure, png, write_files
from tune.asl.tracking import Logged, log_run, network_run

REPORT, FIGURE = "lambda-sweep.json", "lambda-sweep.png"
STEPS_A_UNIT = 1000
"""MLflow's curves have whole steps: lambda in thousandths."""


def write_kl_sweep(sweep: KlSweep, out_dir: Path) -> list[Path]:
    """Write figure and report, the report last.

    Raises:
        OutputError: the folder cannot be written.
    """
    weights = [point.kl_weight for point in sweep.points]
    figure, (left, right) = new_figure(1, 2)
    draw_fit(weights, [point.loss for point in sweep.points], [point.divergence for point in sweep.points], left)
    told = [point.uncertainties for point in sweep.points]
    agreement = [found.r_squared if found is not None else None for found in told]
    draw_accuracy(weights, [point.dice for point in sweep.points], agreement, right)
    files = {FIGURE: png(figure), REPORT: json.dumps(sweep.to_dict(), indent=1).encode() + b"\n"}
    return write_files(out_dir, files)


def point_in_words(point: KlPoint) -> str:
    """One network."""
    fit = f"loss {point.loss:.4f}, divergence {point.divergence:.3f}"
    agree = f"{point.uncertainties.r_squared:.2f}" if point.uncertainties is not None else "none"
    dices = f"Dice {point.dice[0]:.3f} ± {point.dice[1]:.3f}"
    return f"lambda {point.kl_weight:5g}: {dices}, {fit}, R2 of both uncertainties {agree}"


def log_kl_sweep(uri: str, sweep: KlSweep, files: Sequence[Path]) -> bool:
    """A run with curves over lambda (in thousandths) and the files, below it a run a network; False after a warning."""
    curves = [(_metrics(point), round(STEPS_A_UNIT * point.kl_weight)) for point in sweep.points]
    networks = [
        network_run(network, sweep.recipe_of(point), _metrics(point))
        for network, point in zip(sweep.networks, sweep.points)
    ]
    tags = {"settings_sha256": sweep.settings.sha256()}
    return log_run(uri, Logged("asl lambda sweep", "lambda-sweep", curves, files, tags, children=networks))


def _metrics(point: KlPoint) -> dict[str, float]:
    values = {"mean_dice": point.dice[0], "loss": point.loss, "divergence": point.divergence}
    if point.mcd_uncertainty is not None:
        values["mean_mcd_uncertainty"] = point.mcd_uncertainty
    if point.uncertainties is not None:
        values["r2_uncertainties"] = point.uncertainties.r_squared
    return values
