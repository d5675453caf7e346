"""`make transfer-check`: does one network that saw only phantoms outline real hearts?

Trains one compact U-Net on the phantom's `broad` preset for at most a quarter of an hour on two cores, and reports Dice
on published real slices, which are neither part of this repository nor ever trained on. Exit code 1 below the floor.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from pool.errors import PoolError
from pool.evaluation.overlap import dice
from pool.inputs import open_study
from pool.masks.study import read_labels
from pool.phantom.labelled_set import write_labelled_set
from pool.phantom.presets import get_preset
from pool.preprocess import prepare
from pool.progress import ProgressBar
from pool.shapes import MYOCARDIUM
from pool.sweep import SweepSettings, sweep
from pool.weights import save_weights
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.training import SeedTraining

PRESET, SET_SEED, N_SLICES, SHARD_SLICES = "broad", 11, 2400, 30
TRAINING = TrainingSettings.quick(
    seeds=(1,),
    n_checkpoints=1,
    n_epochs=8,
    n_patches_per_slice=2,
    batch_size=16,
    learning_rate=2e-3,
    n_warmup_steps=50,
    averaging_decay=0.995,
    validation_share=0.04,
    n_validation_slices=24,
)
"""37,000 patches: seven to twelve minutes on two cores without bfloat16."""
MOST_CPU_S = 2 * 15 * 60.0
"""No epoch is begun that would take more processor time: a quarter of an hour on two cores [s]."""
MASK_SWEEP = SweepSettings(stride_px=16)
"""The mask needs the patches of stride 16 alone."""
LEAST_MEAN_DICE, LEAST_DICE = 0.86, 0.75
"""The floor: mean over the slices, and every single one."""

console = Console()


def main(
    data: Annotated[Path, typer.Option(help="Folder with images/*.mat and labels/*.mat.")],
    out: Annotated[Path, typer.Option(help="Folder for the training set and the weights.")] = Path("transfer-check"),
    threads: Annotated[int, typer.Option(min=1, help="Torch threads.")] = 2,
) -> None:
    """Train on phantoms alone, then outline real slices."""
    images = sorted((data / "images").glob("*.mat"))
    if not images:
        console.print(f"skipped: no real slices in {data} (they are not part of this repository)", highlight=False)
        return
    torch.set_num_threads(threads)
    try:
        network = train(out)
        found = {path.stem: real_dice(network, path, data / "labels" / path.name) for path in images}
    except PoolError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    for name, value in found.items():
        console.print(f"{name:24s} Dice {value:.3f}", highlight=False)
    mean, least = float(np.mean(list(found.values()))), min(found.values())
    reached = mean >= LEAST_MEAN_DICE and least >= LEAST_DICE
    console.print(
        f"mean {mean:.3f} (floor {LEAST_MEAN_DICE}), least {least:.3f} (floor {LEAST_DICE}): "
        f"{'reached' if reached else 'NOT reached'}",
        highlight=False,
    )
    if not reached:
        raise typer.Exit(1)


def train(out: Path) -> torch.nn.Module:
    """Simulate the training set, unless it is there, and train one seed on it."""
    slices = out / "training-set"
    if not (slices / "manifest.json").is_file():
        with ProgressBar("labelled phantom slices") as bar:
            write_labelled_set(slices, get_preset(PRESET), N_SLICES, SET_SEED, SHARD_SLICES, bar)
    samples = Samples.open(slices)
    training = SeedTraining(TRAINING, TRAINING.seeds[0], samples, samples.split(TRAINING))
    started, started_cpu = time.monotonic(), time.process_time()
    with ProgressBar("epochs of training") as bar:
        for report in training.epochs():
            bar(report.epoch, TRAINING.n_epochs)
            cpu_s = time.process_time() - started_cpu
            if report.epoch < TRAINING.n_epochs and cpu_s * (report.epoch + 1) / report.epoch > MOST_CPU_S:
                console.print(f"stopped after epoch {report.epoch} of {TRAINING.n_epochs}: time is up", highlight=False)
                break
    cpu_s = time.process_time() - started_cpu
    console.print(f"trained for {time.monotonic() - started:.0f} s, {cpu_s:.0f} s of a processor", highlight=False)
    save_weights(out, "network", training.weights())
    return training.member.eval()


def real_dice(network: torch.nn.Module, image: Path, label: Path) -> float:
    """Dice of the network's mask on one real slice."""
    study = open_study(image)
    maps = sweep(network, prepare(study.series)[0].frames, MASK_SWEEP)
    assert maps is not None  # nothing stops the sweep
    return dice(maps.mask, read_labels(study, [label]).classes[0] == MYOCARDIUM)


if __name__ == "__main__":
    typer.run(main)
