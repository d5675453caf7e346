"""`python -m tune asl sweep`, `kl-sweep`, `partial-volume` and `mix`: several networks, or moved outlines."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer
from rich.console import Console

from pool.errors import PoolError
from tune.cli.asl import app
from tune.cli.asl_options import (
    N_THREADS,
    AddressOption,
    CpusOption,
    DeviceOption,
    GpusOption,
    MlflowOption,
    ReadersOption,
    Simulated,
    ThreadsOption,
    checked_threads,
    chosen_recipe,
)
from tune.cli.asl_sweep import Simulation, run_sweep
from tune.cli.refusal import refuse
from tune.resources import Resources

if TYPE_CHECKING:
    from pool.evaluation.partial_volume import OutlineErrors
    from pool.phantom.asl import AslStudy
    from tune.asl.beta_sweep import BetaSweep
    from tune.asl.images import AslImages
    from tune.asl.kl_sweep import KlPoint, KlSweep


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
    classes: Annotated[
        int | None, typer.Option(help="2: myocardium, the default without --settings; 3: and blood.")
    ] = None,
    mlflow: MlflowOption = None,
    cpus: CpusOption = 1.0,
    gpus: GpusOption = 0.0,
    address: AddressOption = None,
) -> None:
    """Train networks with the Tversky loss at several betas, with BCE and Dice: false positives and negatives of each.

    Every network is a trial of Ray Tune. A sweep that was cut off goes on where it was: give the same command again.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console = Console()
    try:
        from pool.trials.settings import TrialSettings
        from tune.asl.beta_report import log_sweep, sweep_in_words, write_sweep
        from tune.asl.beta_sweep import refuse_betas, sweep_betas
        from tune.asl.partial_volume import errors_in_words
        from tune.cli.options import numbers

        n_classes = 2 if classes is None and settings_file is None else classes
        recipe = chosen_recipe(preset, settings_file, {"n_epochs": epochs}, {"n_classes": n_classes})
        chosen, of_image, resources = numbers(betas, "--betas"), TrialSettings(trials), Resources(cpus, gpus, address)
        refuse_betas(recipe, chosen, test_studies, out, resources)

        def on_network(errors: OutlineErrors) -> None:
            console.print(errors_in_words(errors), highlight=False)

        def find(images: AslImages, tested: list[AslStudy]) -> BetaSweep:
            return sweep_betas(recipe, chosen, images, tested, out, of_image, resources, on_network)

        simulated = Simulation(phantom, studies, phantom_seed, test_studies, readers)
        run_sweep(console, out, simulated, find, write_sweep, sweep_in_words, log_sweep, mlflow)
    except PoolError as error:
        refuse(error)


@app.command("kl-sweep")
def kl_sweep(
    out: Annotated[Path, typer.Option(help="Folder for networks, report and figure; new or an earlier sweep.")],
    weights: Annotated[
        str, typer.Option(help="Lambdas, comma-separated, rising; default: the paper's.")
    ] = "0.1,0.5,0.75,1,2,5,10",
    phantom: Annotated[str, typer.Option(help="Preset whose studies are simulated.")] = "inD",
    studies: Annotated[int, typer.Option(help="Studies to train on.")] = 600,
    phantom_seed: Annotated[int, typer.Option(help="Of the studies to train on; the test's is the next.")] = 1,
    test_studies: Annotated[int, typer.Option(help="Studies to test on, a control and a labelled image each.")] = 72,
    trials: Annotated[int, typer.Option(help="Trials of a test image; the paper's are 128.")] = 128,
    readers: ReadersOption = "one",
    preset: Annotated[str, typer.Option(help="`prob-paper` or `prob-quick`.")] = "prob-paper",
    epochs: Annotated[int | None, typer.Option(help="Epochs.")] = None,
    mlflow: MlflowOption = None,
    cpus: CpusOption = 1.0,
    gpus: GpusOption = 0.0,
    address: AddressOption = None,
) -> None:
    """Train probabilistic U-Nets with several weights of the divergence: loss, divergence, Dice and uncertainties.

    Every network is a trial of Ray Tune. A sweep that was cut off goes on where it was: give the same command again.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    console = Console()
    try:
        from pool.trials.settings import TrialSettings
        from tune.asl.images import AslImages
        from tune.asl.kl_report import log_kl_sweep, point_in_words, write_kl_sweep
        from tune.asl.kl_sweep import refuse_kl_weights, sweep_kl_weights
        from tune.cli.options import numbers

        recipe = chosen_recipe(preset, None, {"n_epochs": epochs}, {})
        chosen, of_image, resources = (
            numbers(weights, "--weights"),
            TrialSettings(trials),
            Resources(cpus, gpus, address),
        )
        refuse_kl_weights(recipe, chosen, out, resources)

        def on_network(point: KlPoint) -> None:
            console.print(point_in_words(point), highlight=False)

        def find(images: AslImages, made: list[AslStudy]) -> KlSweep:
            tested = AslImages.of_studies(made, 1)
            return sweep_kl_weights(recipe, chosen, images, tested, out, of_image, resources, on_network)

        simulated = Simulation(phantom, studies, phantom_seed, test_studies, readers)
        run_sweep(console, out, simulated, find, write_kl_sweep, lambda _found: (), log_kl_sweep, mlflow)
    except PoolError as error:
        refuse(error)


@app.command("partial-volume")
def partial_volume(
    out: Annotated[Path, typer.Option(help="Folder for figure and report.")],
    phantom: Annotated[str, typer.Option(help="Preset whose studies are simulated.")] = "inD",
    studies: Annotated[int, typer.Option(help="Studies.")] = 72,
    seed: Annotated[int, typer.Option(help="Of the studies.")] = 2,
    readers: ReadersOption = "one",
) -> None:
    """Make the reference outlines a pixel thinner and thicker: what becomes of Dice and of blood flow."""
    console = Console()
    try:
        from pool.evaluation.partial_volume import moved_outlines
        from tune.asl.images import phantom_studies
        from tune.asl.partial_volume import moved_in_words, write_partial_volume
        from tune.storage import refuse_unwritable

        refuse_unwritable(f"folder {out.name}", out)
        made = phantom_studies(phantom, studies, seed, readers, Simulated(console))
        moved = moved_outlines(made)
        files = write_partial_volume(moved, made[0], out)
    except PoolError as error:
        refuse(error)
    for found in moved:
        console.print(moved_in_words(found), highlight=False, soft_wrap=True, markup=False)
    console.print(f"wrote {', '.join(file.name for file in files)} to {out}/", highlight=False, soft_wrap=True)


@app.command()
def mix(
    pools: Annotated[str, typer.Option(help="Comma-separated folders of pools whose members are taken.")],
    out: Annotated[Path, typer.Option(help="Pool folder to write; new or empty.")],
    phantom: Annotated[str, typer.Option(help="Preset whose studies calibrate the members.")] = "inD",
    studies: Annotated[int, typer.Option(help="Studies, at least 20.")] = 60,
    seed: Annotated[int, typer.Option(help="Of these; neither the training's nor a test's.")] = 3,
    readers: ReadersOption = "one",
    trials: Annotated[int, typer.Option(help="Trials of an image.")] = 100,
    name: Annotated[str, typer.Option(help="Name of the pool.")] = "asl-mixed",
    threads: ThreadsOption = N_THREADS,
    device: DeviceOption = "cpu",
) -> None:
    """Make one pool of several kinds of member, whose scores become comparable as expected Dice."""
    console = Console()
    try:
        from pool.engine.machine import device_named
        from pool.progress import ProgressBar
        from pool.trials.settings import TrialSettings
        from tune.asl.images import phantom_studies
        from tune.asl.mix import mix_pools
        from tune.assemble import refuse_used_folder

        of_image = TrialSettings(trials)
        refuse_used_folder(out, may_be_cut_short=False)
        torch.set_num_threads(checked_threads(threads))
        made = phantom_studies(phantom, studies, seed, readers, Simulated(console))
        folders = [Path(folder.strip()) for folder in pools.split(",")]
        with ProgressBar("images") as bar:
            manifest = mix_pools(folders, out, made, of_image, name, device_named(device), bar)
    except PoolError as error:
        refuse(error)
    for member in manifest.members:
        if (known := member.calibration) is not None:
            low, high = known.knots[-1][1], known.knots[0][1]
            words = f"expected Dice from {low:.3f} to {high:.3f} ± {known.residual_sd:.3f}, {known.n_images} images"
            console.print(f"{member.id}  {member.network.kind} by {known.score}: {words}", highlight=False)
    console.print(f"{manifest.n_members} members in {out}", highlight=False, soft_wrap=True)
