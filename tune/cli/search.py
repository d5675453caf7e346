"""`python -m tune search`: which patch size, stride, learning rate and loss suit a labelled set."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from pool.errors import PoolError
from tune.cli.options import chosen_settings, numbers, whole_numbers
from tune.cli.refusal import refuse
from tune.interrupt import sigterm_as_ctrl_c
from tune.resources import Resources

if TYPE_CHECKING:
    from tune.search_outcome import TrialOutcome


def search(
    data: Annotated[Path, typer.Option(help="Folder of a labelled set.")],
    out: Annotated[Path, typer.Option(help="Folder for table, best recipe and checkpoints; new or empty.")],
    patch: Annotated[str, typer.Option(help="Patch sizes in pixels, comma-separated.")] = "16,32,64",
    stride: Annotated[
        str, typer.Option(help="Strides of the training grid as shares of the patch size, comma-separated.")
    ] = "0.5,0.25",
    learning_rate: Annotated[
        str | None, typer.Option(help="Learning rates, comma-separated; default: the recipe's.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="Losses, comma-separated; default: the recipe's.")] = None,
    draw: Annotated[
        int | None, typer.Option(help="Draw so many configurations at random; default: the whole grid.")
    ] = None,
    draw_seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of a trial; default: the recipe's.")] = None,
    grace: Annotated[int, typer.Option(help="Epochs before a trial can be stopped.")] = 1,
    reduction: Annotated[int, typer.Option(help="About one trial in so many passes each check.")] = 3,
    seeds: Annotated[int, typer.Option(help="Trials of each configuration, with seeds counted from 1.")] = 1,
    preset: Annotated[str | None, typer.Option(help="`paper` (default) or `quick`: the recipe that is varied.")] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="The recipe that is varied, as JSON, instead of a preset.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the network's first level.")] = None,
    poolings: Annotated[int | None, typer.Option(help="Poolings of the network.")] = None,
    batch: Annotated[int | None, typer.Option(help="Patches of a step.")] = None,
    patches_per_slice: Annotated[
        int | None, typer.Option(help="Patches from each slice in an epoch, at the recipe's patch size.")
    ] = None,
    mlflow: Annotated[str | None, typer.Option(help="MLflow tracking URI, e.g. sqlite:////abs/path/mlflow.db.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue the search that --out holds.")] = False,
    cpus: Annotated[float, typer.Option(help="CPU cores (and torch threads) of a trial.")] = 1.0,
    gpus: Annotated[float, typer.Option(help="GPUs of a trial; 0.5 lets two trials share one.")] = 0.0,
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: a local Ray.")] = None,
    name: Annotated[str, typer.Option(help="Name of the search in MLflow.")] = "search",
) -> None:
    """Compare patch sizes, strides, learning rates and losses by validation Dice; bad ones are stopped early."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console, started_s = Console(), time.monotonic()
    try:
        changes: dict[str, Any] = {"batch_size": batch, "n_patches_per_slice": patches_per_slice}
        base = chosen_settings(preset, settings_file, changes, {"width": width, "n_poolings": poolings})
        resources = Resources(cpus, gpus, address)
        from tune.search_space import SearchSettings

        settings = SearchSettings(
            base=base,
            patch_px=whole_numbers(patch, "--patch"),
            stride_shares=numbers(stride, "--stride"),
            learning_rates=numbers(learning_rate, "--learning-rate") if learning_rate else (base.learning_rate,),
            losses=tuple(part.strip() for part in loss.split(",")) if loss else (base.loss,),
            n_drawn=draw,
            draw_seed=draw_seed,
            seeds=tuple(range(1, seeds + 1)),
            n_epochs=epochs if epochs is not None else base.n_epochs,
            grace_epochs=grace,
            reduction_factor=reduction,
        )
        from tune.search import STARTED_NAME, run_search
        from tune.search_table import BEST_NAME, search_table

        n_trials = len(settings.configurations()) * len(settings.seeds)
        console.print(f"{n_trials} trials of at most {settings.n_epochs} epochs", highlight=False)

        def on_trial(trial: TrialOutcome, ended: bool) -> None:
            console.print(f"{time.monotonic() - started_s:5.0f} s  {_line(trial, ended)}", highlight=False)

        with sigterm_as_ctrl_c() as stopped_code:
            try:
                ranked = run_search(settings, data, out, mlflow, on_trial, resources, name, resume)
            except KeyboardInterrupt as stop:
                kept = f"kept in {out}; the same command with --resume continues it"
                _say_stopped(kept if (out / STARTED_NAME).is_file() else "not kept")
                raise typer.Exit(stopped_code()) from stop
    except PoolError as error:
        refuse(error)
    console.print(search_table(ranked))
    for row in ranked:
        if row.failure is not None:
            console.print(f"{row.configuration}: {row.failure}", highlight=False, soft_wrap=True, markup=False)
    seconds = time.monotonic() - started_s
    text = f"{out / BEST_NAME} after {seconds:.0f} s, for: python -m tune train --settings {out / BEST_NAME}"
    console.print(text, highlight=False, soft_wrap=True)


def _say_stopped(kept: str) -> None:
    Console(stderr=True).print(f"Stopped; the search is {kept}.", highlight=False, soft_wrap=True, markup=False)


def _line(trial: TrialOutcome, ended: bool) -> str:
    start = f"{trial.id}  {trial.configuration}, seed {trial.seed}:"
    if trial.failure is not None:
        return f"{start} failed after {len(trial.epochs)} epochs"
    if ended:
        state = "stopped" if trial.unfinished else "done"
        return f"{start} {state} after {len(trial.epochs)} epochs, best Dice {trial.validation_dice:.3f}"
    return f"{start} epoch {len(trial.epochs)} Dice {trial.epochs[-1].validation_dice:.3f}"
