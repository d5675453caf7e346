"""`python -m tune bench`: patches a second of a training, and how much of it the network has."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from pool.engine.machine import device_named
from pool.errors import PoolError, SettingsError
from tune.cli.options import chosen_settings
from tune.cli.refusal import refuse


def bench(
    data: Annotated[Path | None, typer.Option(help="Folder of a labelled set.")] = None,
    phantom: Annotated[str | None, typer.Option(help="Simulate a few slices from this preset instead.")] = None,
    n_slices: Annotated[int, typer.Option(help="Slices to simulate, a multiple of 3.")] = 30,
    preset: Annotated[str | None, typer.Option(help="`paper` (default) or `quick`.")] = None,
    settings_file: Annotated[Path | None, typer.Option("--settings", help="A recipe as JSON, not a preset.")] = None,
    width: Annotated[int | None, typer.Option(help="Channels of the network's first level.")] = None,
    poolings: Annotated[int | None, typer.Option(help="Poolings of the network.")] = None,
    batch: Annotated[int | None, typer.Option(help="Patches of a step.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    steps: Annotated[int, typer.Option(help="Least steps of each run.")] = 20,
    pairs: Annotated[int, typer.Option(help="Pairs of runs.")] = 5,
) -> None:
    """Compare the training loop with the same network on ready tensors, pair by pair."""
    console = Console()
    try:
        if (data is None) == (phantom is None):
            raise SettingsError("throughput", "needs either --data or --phantom", "both" if data else "neither")
        if threads < 1:
            raise SettingsError("throughput", "threads must be at least 1", str(threads))
        device_named(device)
        changes: dict[str, Any] = {"batch_size": batch}
        settings = chosen_settings(preset, settings_file, changes, {"width": width, "n_poolings": poolings})
        torch.set_num_threads(threads)
        from tune.samples import Samples
        from tune.throughput import TARGET_SHARE, measure_throughput

        with ExitStack() as stack:
            folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pool-phantom-")))
            if phantom is not None:
                from pool.phantom.labelled_set import write_labelled_set
                from pool.phantom.presets import get_preset

                write_labelled_set(folder, get_preset(phantom), n_slices, seed=1)
            samples = Samples.open(folder).to(device)

            def on_pair(real: float, ready: float) -> None:
                text = f"training {real:7.1f} patches/s   network alone {ready:7.1f}   share {real / ready:.3f}"
                console.print(text, highlight=False)

            recipe = samples.settings_for_classes(settings)
            throughput = measure_throughput(recipe, samples, device, steps, pairs, on_pair)
    except PoolError as error:
        refuse(error)
    text = f"share {throughput.share:.3f}, median of {pairs} pairs; {TARGET_SHARE} or more is wanted"
    console.print(text, highlight=False)
