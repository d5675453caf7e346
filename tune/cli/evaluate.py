"""`python -m tune evaluate`: a pool on slices whose truth is known, rule by rule and member by member."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer
from rich.console import Console

from pool.errors import PoolError
from tune.cli.refusal import refuse

if TYPE_CHECKING:
    from pool.member import Pool
    from tune.evaluation.evaluate import EvaluationSettings

LOG_WIDTH = 120
"""Columns of a log."""


def evaluate(
    pool: Annotated[Path, typer.Option(help="Pool folder.")],
    out: Annotated[Path, typer.Option(help="Folder for report, figures and kept sweeps; new or an earlier one.")],
    sets: Annotated[
        str, typer.Option(help="Comma-separated: phantom presets, `real`, NAME=FOLDER of a labelled set.")
    ] = "inD,exD-1,exD-2",
    subjects: Annotated[int, typer.Option(help="Phantom subjects a preset, three slices each.")] = 20,
    seed: Annotated[int, typer.Option(help="Of phantom subjects and of `random-member`.")] = 1,
    stride: Annotated[
        int, typer.Option(help="Stride of the U-map [px]; 2 is the paper's, 4 is four times faster.")
    ] = 2,
    real_data: Annotated[Path, typer.Option(help="Folder of the set `real`: images/*.mat and labels/*.mat.")] = Path(
        "../shared/data/daugs_real"
    ),
    threads: Annotated[int, typer.Option(help="Torch threads.")] = torch.get_num_threads(),
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    mbf: Annotated[bool, typer.Option("--mbf", help="Also compare blood flow, on phantom dual-bolus studies.")] = False,
    mlflow: Annotated[str | None, typer.Option(help="MLflow tracking URI, e.g. sqlite:////abs/path/mlflow.db.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run if MLflow does not know the pool.")] = None,
) -> None:
    """Compare selection rules and members on slices whose truth is known.

    An interrupted evaluation continues where it stopped: give the same --out again.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console = Console()
    if not console.is_terminal:  # in a log tables keep all their columns
        console = Console(width=LOG_WIDTH)
    try:
        _run(console, pool, out, sets, subjects, seed, stride, real_data, threads, device, mlflow, name, mbf)
    except PoolError as error:
        refuse(error)


def _run(
    console: Console,
    pool_dir: Path,
    out_dir: Path,
    sets: str,
    n_subjects: int,
    seed: int,
    stride_px: int,
    real_data: Path,
    n_threads: int,
    device: str,
    mlflow: str | None,
    name: str | None,
    with_flow: bool,
) -> None:
    from pool.member import Pool
    from pool.progress import ProgressBar
    from tune.evaluation.evaluate import EvaluationSettings
    from tune.evaluation.evaluate import evaluate as run_evaluation
    from tune.evaluation.pictures import write_pictures
    from tune.evaluation.report import refuse_foreign_folder, write_report
    from tune.evaluation.sources import open_sources
    from tune.evaluation.tables import NOTES, members_table, remarks, rules_table, tests_table

    settings = EvaluationSettings(stride_px, seed, n_threads, device)
    refuse_foreign_folder(out_dir)
    sources = open_sources(sets, n_subjects, seed, real_data)
    pool = Pool.load(pool_dir, device)
    with ProgressBar("member sweeps") as bar:
        evaluation = run_evaluation(pool, sources, settings, out_dir, bar)
    write_report(evaluation, out_dir)
    write_pictures(evaluation, out_dir)
    for item in evaluation.sets:
        console.print(members_table(item))
    for item in evaluation.sets:
        console.print(rules_table(item))
    console.print(tests_table(evaluation))
    for line in (*remarks(evaluation), *NOTES):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    kept = f", {evaluation.n_kept} found from an earlier run" if evaluation.n_kept else ""
    console.print(
        f"{evaluation.n_swept} sweeps with a stride of {stride_px} px{kept}; evaluation.json, slices.csv and figures "
        f"in {out_dir}/",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    if any(not item.source.simulated for item in evaluation.sets):
        console.print(f"outlines-*.png in {out_dir}/ show real pixels: never to be committed", highlight=False)
    if with_flow:
        _evaluate_flow(console, pool, sets, n_subjects, settings, out_dir)
    if mlflow is not None:
        from tune.evaluation_tracking import log_evaluation

        if log_evaluation(mlflow, evaluation, out_dir, name or f"{pool.manifest.name} evaluation"):
            console.print("members and rules logged to MLflow", highlight=False)


def _evaluate_flow(
    console: Console, pool: Pool, sets: str, n_subjects: int, settings: EvaluationSettings, out_dir: Path
) -> None:
    """Blood flow under the experts' and both rules' outlines, on the phantom presets among the sets."""
    from pool.phantom.presets import PRESETS
    from pool.progress import ProgressBar
    from tune.evaluation.flow import evaluate_flow, write_flow_report
    from tune.evaluation.flow_table import flow_remarks, flow_table

    names = [name for entry in sets.split(",") if (name := entry.strip()) in PRESETS]
    with ProgressBar("member sweeps for blood flow") as bar:
        found = evaluate_flow(pool, names, n_subjects, settings.seed, settings.sweep(), out_dir, bar)
    write_flow_report(found, out_dir)
    for item in found:
        console.print(flow_table(item))
        for line in flow_remarks(item):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"mbf.json and mbf-SET.png in {out_dir}/", highlight=False, soft_wrap=True, markup=False)
