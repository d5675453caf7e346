"""`python -m tune asl train` and `... evaluate`: members of trials on arterial spin labelling images."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console

from pool.errors import PoolError
from tune.cli.asl_options import (
    N_THREADS,
    DeviceOption,
    MlflowOption,
    ReadersOption,
    Simulated,
    ThreadsOption,
    checked_threads,
    chosen_recipe,
    refuse_idle_options,
    stopped_in_words,
)
from tune.cli.refusal import refuse

if TYPE_CHECKING:
    from tune.reports import EpochReport

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Networks of trials (Monte-Carlo dropout, probabilistic U-Net) on arterial spin labelling images.",
    pretty_exceptions_enable=False,
)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Pool folder to write; new or empty.")],
    phantom: Annotated[str, typer.Option(help="Preset whose studies are simulated.")] = "inD",
    studies: Annotated[int, typer.Option(help="Studies to simulate, a subject each.")] = 600,
    pairs: Annotated[int, typer.Option(help="Pairs of a study; a control and a labelled image each.")] = 1,
    phantom_seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
    readers: ReadersOption = "one",
    preset: Annotated[
        str | None,
        typer.Option(
            help="`paper` (default): the second paper's recipe; `quick`: minutes on one core; `thorough`: "
            "better, half an hour with --studies 2000; `prob-paper`, `prob-quick`: the probabilistic U-Net's."
        ),
    ] = None,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="A whole recipe as JSON.")] = None,
    images: Annotated[str | None, typer.Option(help="Train on `control`, `labelled` or `both`.")] = None,
    start_from: Annotated[Path | None, typer.Option(help="Go on from the members of this pool: fine-tuning.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds, counted from 1, a member each.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images of a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    loss: Annotated[str | None, typer.Option(help="Loss, one of those of `tune.losses`.")] = None,
    kl_weight: Annotated[float | None, typer.Option(help="Of a probabilistic U-Net: weight of the divergence.")] = None,
    beta: Annotated[float | None, typer.Option(help="Of the Tversky loss: weight of false negatives.")] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the network's first scale.")] = None,
    poolings: Annotated[int | None, typer.Option(help="Poolings of the network.")] = None,
    classes: Annotated[int | None, typer.Option(help="2: myocardium; 3: and blood.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="`auto`: bfloat16 where it is native; `float32`, `bfloat16`.")
    ] = None,
    storage: Annotated[Path | None, typer.Option(help="Folder where every epoch's state is kept, to resume.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue the training that --storage holds.")] = False,
    mlflow: MlflowOption = None,
    name: Annotated[str, typer.Option(help="Name of the pool and of its run.")] = "asl",
    threads: ThreadsOption = N_THREADS,
    device: DeviceOption = "cpu",
) -> None:
    """Train members of trials on phantom ASL images, and write them as a pool."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console, started_s = Console(), time.monotonic()
    try:
        from pool.engine.machine import device_named
        from tune.asl.images import AslImages
        from tune.asl.train import train_asl
        from tune.storage import refuse_unusable_places

        changes: dict[str, Any] = {
            "seeds": tuple(range(1, seeds + 1)) if seeds is not None else None,
            "images": images,
            "n_epochs": epochs,
            "batch_size": batch,
            "learning_rate": learning_rate,
            "loss": loss,
            "tversky_beta": beta,
            "kl_weight": kl_weight,
            "precision": precision,
        }
        network = {"width": width, "n_poolings": poolings, "n_classes": classes}
        settings = chosen_recipe(preset, settings_file, changes, network)
        refuse_idle_options(settings, beta, kl_weight)
        refuse_unusable_places(out, storage, resume)
        torch.set_num_threads(checked_threads(threads))

        def on_epoch(report: EpochReport) -> None:
            console.print(
                f"seed {report.seed}, epoch {report.epoch} of {settings.n_epochs}: loss {report.train_loss:.3f}, "
                f"validation Dice {report.validation_dice:.3f}, {report.training_s + report.validation_s:.0f} s",
                highlight=False,
            )

        kept = f"is kept in {storage}; the same command with --resume continues it" if storage else "is not kept"
        with stopped_in_words(f"the training {kept}"):
            found = AslImages.from_phantom(phantom, studies, phantom_seed, pairs, readers, Simulated(console))
            manifest = train_asl(
                settings, found, out, mlflow, name, start_from, device_named(device), on_epoch, storage, resume
            )
    except PoolError as error:
        refuse(error)
    for member in manifest.members:
        console.print(f"{member.id}  validation Dice {member.validation_dice:.3f}", highlight=False)
    seconds = time.monotonic() - started_s
    console.print(f"{manifest.n_members} members in {out} after {seconds:.0f} s", highlight=False, soft_wrap=True)


@app.command()
def evaluate(
    pool: Annotated[Path, typer.Option(help="Pool folder that `asl train` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for report, tables and figures; new or an earlier one.")],
    member: Annotated[str | None, typer.Option(help="Its id; default: the one with the best validation Dice.")] = None,
    phantom: Annotated[str, typer.Option(help="Preset whose studies are simulated.")] = "inD",
    studies: Annotated[int, typer.Option(help="Test studies; 72 give 144 images, as many as the paper's.")] = 72,
    pairs: Annotated[int, typer.Option(help="Pairs of a study whose images are outlined.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the test studies; not the training's.")] = 2,
    readers: ReadersOption = "one",
    trials: Annotated[int, typer.Option(help="Trials of an image; the paper's: 1115, probabilistic 128.")] = 100,
    bootstrap_trials: Annotated[
        int, typer.Option(help="Trials of two images whose scores are resampled; the paper's are 16384, 0: none.")
    ] = 2048,
    precision: Annotated[
        str, typer.Option(help="Of the trials: `float32`, as in an analysis; `bfloat16`; `auto`: where it is native.")
    ] = "float32",
    compare: Annotated[
        Path | None, typer.Option(help="Folder of an earlier evaluation of another member on the same images.")
    ] = None,
    mlflow: MlflowOption = None,
    threads: ThreadsOption = N_THREADS,
    device: DeviceOption = "cpu",
) -> None:
    """Outline phantom ASL images with many trials; compare Dice, both uncertainties and blood flow with the truth."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console = Console()
    try:
        from pool.engine.machine import device_named
        from pool.manifest import PoolManifest
        from pool.member import Member
        from pool.progress import ProgressBar
        from tune.asl.against import against, read_images
        from tune.asl.evaluate import AslEvaluationSettings, evaluate_asl
        from tune.asl.images import phantom_studies
        from tune.asl.report import in_words, refuse_foreign_folder, write_report

        settings = AslEvaluationSettings(
            phantom, studies, seed, readers, pairs, trials, bootstrap_trials, precision=precision
        )
        refuse_foreign_folder(out)
        if compare is not None:
            read_images(compare)  # refused now rather than after minutes of trials
        torch.set_num_threads(checked_threads(threads))
        manifest = PoolManifest.load(pool)
        manifest.require_trials()
        among = replace(manifest, members=manifest.of_trials) if member is None else manifest
        chosen = Member.load(pool, among.entry_of(member), device_named(device))
        made = phantom_studies(phantom, studies, seed, readers, Simulated(console))
        with ProgressBar("trials") as bar:
            found = evaluate_asl(chosen, made, settings, bar)
        files = write_report(found, out)
        for line in in_words(found):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        if compare is not None:
            console.print(against(found, compare).in_words(), highlight=False, soft_wrap=True, markup=False)
        console.print(f"wrote {', '.join(file.name for file in files)} to {out}/", highlight=False, soft_wrap=True)
        if mlflow is not None:
            from tune.asl.tracking import log_asl_evaluation

            if log_asl_evaluation(mlflow, found, manifest, files):
                console.print("numbers and figures logged to MLflow", highlight=False)
    except PoolError as error:
        refuse(error)
