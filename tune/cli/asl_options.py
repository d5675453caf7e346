"""Options and helpers that the commands of `python -m tune asl` share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, NoReturn

import torch
import typer
from rich.console import Console

from pool.errors import PoolError, SettingsError
from tune.asl.settings import PRESETS, AslTrainingSettings
from tune.cli.options import read_fields

N_THREADS = torch.get_num_threads()
MlflowOption = Annotated[str | None, typer.Option(help="MLflow tracking URI, e.g. sqlite:////abs/path/mlflow.db.")]
ReadersOption = Annotated[str, typer.Option(help="`one` draws all labels; of `many` every heart has another.")]
ThreadsOption = Annotated[int, typer.Option(help="Torch threads.")]
DeviceOption = Annotated[str, typer.Option(help="Torch device.")]


class Simulated:
    """A line every hundred studies."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, n_done: int, n_total: int) -> None:
        """Say so, if it is time."""
        if n_done % 100 == 0 or n_done == n_total:
            self._console.print(f"simulated {n_done} of {n_total} studies", highlight=False)


def chosen_recipe(
    preset: str | None, file: Path | None, changes: dict[str, Any], network: dict[str, Any]
) -> AslTrainingSettings:
    """A preset's recipe or a file's, with what the command line changes.

    Args:
        preset: one of `tune.asl.settings.PRESETS`; None is the paper's, unless there is a file.
        file: all of a recipe as JSON.
        changes: fields of the recipe; None leaves a field as it is.
        network: fields of its network, likewise.

    Raises:
        SettingsError: both or an unknown preset, a file that cannot be read, a recipe that makes no sense.
    """
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


def checked_threads(n: int) -> int:
    """A number of threads.

    Raises:
        SettingsError: below 1.
    """
    if n < 1:
        raise SettingsError("--threads", "must be at least 1", str(n))
    return n


def refuse(error: PoolError) -> NoReturn:
    """End the command with the error's sentence and exit code 2."""
    Console(stderr=True).print(str(error), style="red", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(2) from error
