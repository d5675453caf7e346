"""`python -m tune train`: from a labelled set, or a phantom preset, to a pool folder."""

from __future__ import annotations

import logging
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from pool.errors import PoolError, SettingsError
from tune.cli.options import chosen_settings
from tune.cli.refusal import refuse
from tune.interrupt import sigterm_as_ctrl_c
from tune.resources import Resources
from tune.storage import refuse_unusable_places
from tune.tracking.registry import RegistryName

SHARD_SLICES = 30
"""Slices between two signs of progress while a phantom set is written."""


def train(
    out: Annotated[Path, typer.Option(help="Pool folder to write; new or empty.")],
    data: Annotated[Path | None, typer.Option(help="Folder of a labelled set.")] = None,
    phantom: Annotated[str | None, typer.Option(help="Simulate the labelled set from this preset instead.")] = None,
    n_slices: Annotated[int, typer.Option(help="Slices to simulate, a multiple of 3.")] = 600,
    phantom_seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
    preset: Annotated[
        str | None, typer.Option(help="`paper` (default): the published recipe; `quick`: minutes on a laptop.")
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="A whole recipe as JSON, e.g. a search's best.json.")
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option(help="Go on from the members of this pool: fine-tuning, e.g. pool/pretrained.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds, counted from 1.")] = None,
    checkpoints: Annotated[int | None, typer.Option(help="Members from each seed.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs.")] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the network's first level.")] = None,
    poolings: Annotated[int | None, typer.Option(help="Poolings of the network.")] = None,
    batch: Annotated[int | None, typer.Option(help="Patches of a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    patches_per_slice: Annotated[int | None, typer.Option(help="Patches drawn from each slice in an epoch.")] = None,
    floor: Annotated[float | None, typer.Option(help="Validation Dice that a member needs.")] = None,
    mlflow: Annotated[str | None, typer.Option(help="MLflow tracking URI, e.g. sqlite:////abs/path/mlflow.db.")] = None,
    register: Annotated[str | None, typer.Option(help="Register the pool in MLflow: NAME or NAME@ALIAS.")] = None,
    storage: Annotated[
        str | None, typer.Option(help="Where checkpoints are kept, to resume: a folder or e.g. s3://bucket/folder.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue the training that --storage holds.")] = False,
    cpus: Annotated[float, typer.Option(help="CPU cores (and torch threads) of a trial.")] = 1.0,
    gpus: Annotated[float, typer.Option(help="GPUs of a trial; 0.2 lets five trials share one.")] = 0.0,
    retries: Annotated[
        int, typer.Option(help="How often a trial that died is taken up again; more on spot nodes.")
    ] = 2,
    address: Annotated[
        str | None, typer.Option(help="host:port of a Ray cluster; default: RAY_ADDRESS, else a local Ray.")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the pool.")] = "pool",
    half_weights: Annotated[
        bool, typer.Option("--half-weights", help="Store filters in 16 bits: half the size.")
    ] = False,
) -> None:
    """Train a pool from a labelled set, one Ray Tune trial a seed, compared in MLflow."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console = Console()
    try:
        changes: dict[str, Any] = {
            "seeds": tuple(range(1, seeds + 1)) if seeds is not None else None,
            "n_checkpoints": checkpoints,
            "n_epochs": epochs,
            "batch_size": batch,
            "learning_rate": learning_rate,
            "n_patches_per_slice": patches_per_slice,
            "least_validation_dice": floor,
        }
        settings = chosen_settings(preset, settings_file, changes, {"width": width, "n_poolings": poolings})
        registry_name = RegistryName.parse(register) if register is not None else None
        resources = Resources(cpus, gpus, address, retries)
        started_s = time.monotonic()
        with ExitStack() as stack:
            stopped_code = stack.enter_context(sigterm_as_ctrl_c())
            if (data is None) == (phantom is None):
                raise SettingsError("training", "needs either --data or --phantom", "both" if data else "neither")
            if phantom is not None and resume:
                rule = "can be resumed only with --data: slices of --phantom are deleted when it stops"
                raise SettingsError("training", rule, "--phantom", "Start a new one, or train from a labelled set.")
            refuse_unusable_places(out, storage, resume)
            folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pool-phantom-")))
            if phantom is not None:
                _simulate(phantom, n_slices, phantom_seed, folder, console)
            from tune.progress import TrainingDisplay
            from tune.run import train_pool

            display = stack.enter_context(TrainingDisplay(console))
            manifest = train_pool(
                settings,
                folder,
                out,
                mlflow,
                storage,
                display,
                resources,
                name,
                resume,
                registry_name,
                half_weights,
                start_from,
            )
    except PoolError as error:
        refuse(error)
    except KeyboardInterrupt as stop:
        kept = f"kept in {storage}; the same command with --resume continues it" if storage and data else "not kept"
        Console(stderr=True).print(f"Stopped; the training is {kept}.", highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(stopped_code()) from stop
    for member in manifest.members:
        console.print(f"{member.id}  validation Dice {member.validation_dice:.3f}", highlight=False)
    seconds = time.monotonic() - started_s
    console.print(f"{manifest.n_members} members in {out} after {seconds:.0f} s", highlight=False, soft_wrap=True)


def _simulate(preset: str, n_slices: int, seed: int, folder: Path, console: Console) -> None:
    from pool.phantom.labelled_set import write_labelled_set
    from pool.phantom.presets import get_preset

    columns = (
        TextColumn("simulating slices"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("simulate", total=n_slices)

        def on_progress(n_done: int, n_total: int) -> None:
            bar.update(task, completed=n_done)
            if not console.is_terminal:
                console.print(f"simulated {n_done} of {n_total} slices", highlight=False)

        write_labelled_set(folder, get_preset(preset), n_slices, seed, SHARD_SLICES, on_progress)
