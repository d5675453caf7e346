"""`python -m tune asl train` and `... evaluate`: members of trials on arterial spin labelling images."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from pool.errors import PoolError, SettingsError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Networks of trials (Monte-Carlo dropout, probabilistic U-Net) on arterial spin labelling images.",
    pretty_exceptions_enable=False,
)
N_THREADS = torch.get_num_threads()
MlflowOption = Annotated[str | None, typer.Option(help="MLflow tracking URI, e.g. sqlite:////abs/path/mlflow.db.")]
ReadersOption = Annotated[str, typer.Option(help="`one` draws all labels; of `many` every heart has another.")]
ThreadsOption = Annotated[int, typer.Option(help="Torch threads.")]
DeviceOption = Annotated[str, typer.Option(help="Torch device.")]


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
            help="`paper` (default): the second paper's recipe; `quick`: a quarter of an hour; `prob-paper`, "
            "`prob-quick`: the same for the probabilistic U-Net."
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
        from tune.assemble import refuse_used_folder

        changes: dict[str, Any] = {
            "seeds": tuple(range(1, seeds + 1)) if seeds is not None else None,
            "images": images,
            "n_epochs": epochs,
            "batch_size": batch,
            "learning_rate": learning_rate,
            "loss": loss,
            "tversky_beta": beta,
            "kl_weight": kl_weight,
        }
        network = {"width": width, "n_poolings": poolings, "n_classes": classes}
        settings = _chosen(preset, settings_file, changes, network)
        refuse_used_folder(out, may_be_cut_short=False)
        torch.set_num_threads(_threads(threads))
        found = AslImages.from_phantom(phantom, studies, phantom_seed, pairs, readers, _Simulated(console))
        manifest = train_asl(
            settings,
            found,
            out,
            mlflow,
            name,
            start_from,
            device_named(device),
            lambda report: console.print(
                f"seed {report.seed}, epoch {report.epoch} of {settings.n_epochs}: loss {report.train_loss:.3f}, "
                f"validation Dice {report.validation_dice:.3f}, {report.training_s + report.validation_s:.0f} s",
                highlight=False,
            ),
        )
    except PoolError as error:
        _refuse(error)
    except KeyboardInterrupt as stop:
        Console(stderr=True).print("Stopped; nothing is kept.", highlight=False)
        raise typer.Exit(130) from stop
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
        from tune.asl.evaluate import AslEvaluationSettings, evaluate_asl
        from tune.asl.images import phantom_studies
        from tune.asl.report import in_words, refuse_foreign_folder, write_report

        settings = AslEvaluationSettings(phantom, studies, seed, readers, pairs, trials, bootstrap_trials)
        refuse_foreign_folder(out)
        torch.set_num_threads(_threads(threads))
        manifest = PoolManifest.load(pool)
        chosen = Member.load(pool, manifest.entry_of(member), device_named(device))
        made = phantom_studies(phantom, studies, seed, readers, _Simulated(console))
        with ProgressBar("trials") as bar:
            found = evaluate_asl(chosen, made, settings, bar)
        files = write_report(found, out)
        for line in in_words(found):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        console.print(f"wrote {', '.join(file.name for file in files)} to {out}/", highlight=False, soft_wrap=True)
        if mlflow is not None:
            from tune.asl.tracking import log_asl_evaluation

            if log_asl_evaluation(mlflow, found, manifest, files):
                console.print("numbers and figures logged to MLflow", highlight=False)
    except PoolError as error:
        _refuse(error)


@app.command()
def sweep(
    out: Annotated[Path, typer.Option(help="Folder for networks, report and figure; new or an earlier sweep.")],
    betas: Annotated[str, typer.Option(help="Comma-separated, rising.")] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9",
    phantom: Annotated[str, typer.Option(help="Preset whose studies are simulated.")] = "inD",
    studies: Annotated[int, typer.Option(help="Studies to train on.")] = 600,
    phantom_seed: Annotated[int, typer.Option(help="Of the studies to train on; the test's is the next.")] = 1,
    test_studies: Annotated[int, typer.Option(help="Studies to test on, a control and a labelled image each.")] = 72,
    trials: Annotated[int, typer.Option(help="Trials of a test image.")] = 20,
    readers: ReadersOption = "one",
    preset: Annotated[str | None, typer.Option(help="As of `asl train`.")] = None,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="A whole recipe as JSON.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs.")] = None,
    classes: Annotated[int | None, typer.Option(help="2: myocardium, the paper's; 3: and blood.")] = 2,
    mlflow: MlflowOption = None,
    threads: ThreadsOption = N_THREADS,
    device: DeviceOption = "cpu",
) -> None:
    """Train networks with the Tversky loss at several betas, with BCE and Dice: false positives and negatives of each.

    A sweep that was cut off goes on where it was: give the same command again.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console = Console()
    try:
        from pool.engine.machine import device_named
        from pool.trials.settings import TrialSettings
        from tune.asl.beta_report import errors_in_words, log_sweep, refuse_foreign_folder, sweep_in_words, write_sweep
        from tune.asl.beta_sweep import sweep_betas
        from tune.asl.images import AslImages, phantom_studies
        from tune.cli.options import numbers

        recipe = _chosen(preset, settings_file, {"n_epochs": epochs}, {"n_classes": classes})
        refuse_foreign_folder(out)
        torch.set_num_threads(_threads(threads))
        chosen, of_image = numbers(betas, "--betas"), TrialSettings(trials)
        images = AslImages.from_phantom(phantom, studies, phantom_seed, 1, readers, _Simulated(console))
        tested = phantom_studies(phantom, test_studies, phantom_seed + 1, readers, _Simulated(console))
        found = sweep_betas(
            recipe,
            chosen,
            images,
            tested,
            out,
            of_image,
            mlflow,
            device_named(device),
            lambda errors: console.print(errors_in_words(errors), highlight=False),
        )
        files = write_sweep(found, out)
        for line in sweep_in_words(found):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
        console.print(f"wrote {', '.join(file.name for file in files)} to {out}/", highlight=False, soft_wrap=True)
        if mlflow is not None and log_sweep(mlflow, found, files):
            console.print("curves and figure logged to MLflow", highlight=False)
    except PoolError as error:
        _refuse(error)
    except KeyboardInterrupt as stop:
        Console(stderr=True).print("Stopped; the same command goes on after the last whole network.", highlight=False)
        raise typer.Exit(130) from stop


class _Simulated:
    """A line every hundred studies."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, n_done: int, n_total: int) -> None:
        if n_done % 100 == 0 or n_done == n_total:
            self._console.print(f"simulated {n_done} of {n_total} studies", highlight=False)


def _chosen(preset: str | None, file: Path | None, changes: dict[str, Any], network: dict[str, Any]) -> Any:
    from tune.asl.settings import PRESETS, AslTrainingSettings
    from tune.cli.options import read_fields

    if preset is not None and file is not None:
        raise SettingsError("ASL training", "takes either --preset or --settings", "both")
    if file is not None:
        settings = AslTrainingSettings.from_dict(read_fields(file))
    elif (preset or "paper") in PRESETS:
        settings = PRESETS[preset or "paper"]()
    else:
        raise SettingsError("ASL training", f"preset must be one of {', '.join(PRESETS)}", repr(preset))
    sizes = {field: value for field, value in network.items() if value is not None}
    given = {field: value for field, value in changes.items() if value is not None}
    return dataclasses.replace(settings, **given, network=dataclasses.replace(settings.network, **sizes))


def _threads(n: int) -> int:
    if n < 1:
        raise SettingsError("--threads", "must be at least 1", str(n))
    return n


def _refuse(error: PoolError) -> None:
    Console(stderr=True).print(str(error), style="red", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(2) from error
