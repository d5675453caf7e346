"""Options and helpers that the commands of `python -m tune asl` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from pool.errors import SettingsError
from tune.asl.settings import PRESETS, AslTrainingSettings
from tune.cli.options import chosen_from
from tune.interrupt import sigterm_as_ctrl_c

N_THREADS = torch.get_num_threads()
MlflowOption = Annotated[str | None, typer.Option(help="MLflow tracking URI, e.g. sqlite:////abs/path/mlflow.db.")]
ReadersOption = Annotated[str, typer.Option(help="`one` draws all labels; of `many` every heart has another.")]
ThreadsOption = Annotated[int, typer.Option(help="Torch threads.")]
DeviceOption = Annotated[str, typer.Option(help="Torch device.")]
CpusOption = Annotated[float, typer.Option(help="CPU cores (and torch threads) of a network.")]
GpusOption = Annotated[float, typer.Option(help="GPUs of a network; 0.5 lets two share one.")]
AddressOption = Annotated[str | None, typer.Option(help="Address of a Ray cluster; default: a local Ray.")]


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
    read = AslTrainingSettings.from_dict
    return chosen_from("ASL training", PRESETS, read, preset, file, changes, network)


def refuse_idle_options(recipe: AslTrainingSettings, beta: float | None, kl_weight: float | None) -> None:
    """Refuse weights of a loss that the recipe does not have.

    Args:
        recipe: chosen.
        beta: of the Tversky loss, if given.
        kl_weight: of a probabilistic U-Net, if given.

    Raises:
        SettingsError: one would change nothing.
    """
    if beta is not None and recipe.loss != "tversky":
        raise SettingsError("--beta", "belongs to the tversky loss", f"loss {recipe.loss}", "Add --loss tversky.")
    if kl_weight is not None and recipe.network.kind != "prob-unet":
        remedy = "Take --preset prob-quick or prob-paper."
        raise SettingsError("--kl-weight", "belongs to a prob-unet", recipe.network.kind, remedy)


def checked_threads(n: int) -> int:
    """A number of threads.

    Raises:
        SettingsError: below 1.
    """
    if n < 1:
        raise SettingsError("--threads", "must be at least 1", str(n))
    return n


@contextmanager
def stopped_in_words(kept: str) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM end the command in a sentence, with the exit code that shells expect.

    Args:
        kept: what becomes of the work, in words.
    """
    with sigterm_as_ctrl_c() as stopped_code:
        try:
            yield
        except KeyboardInterrupt as stop:
            Console(stderr=True).print(f"Stopped; {kept}.", highlight=False, soft_wrap=True, markup=False)
            raise typer.Exit(stopped_code()) from stop
