"""What the commands `asl sweep` and `asl kl-sweep` do alike: simulate, sweep, leave report and figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from tune.cli.asl_options import Simulated, stopped_in_words

if TYPE_CHECKING:
    from pool.phantom.asl import AslStudy
    from tune.asl.images import AslImages

Sweep = TypeVar("Sweep")


@dataclass(frozen=True)
class Simulation:
    """Studies that a sweep simulates: to train on and, of the next seed, to test on."""

    phantom: str
    n_studies: int
    seed: int
    n_test_studies: int
    readers: str


def run_sweep(
    console: Console,
    out: Path,
    simulation: Simulation,
    find: Callable[[AslImages, list[AslStudy]], Sweep],
    write: Callable[[Sweep, Path], list[Path]],
    words: Callable[[Sweep], Iterable[str]],
    log: Callable[[str, Sweep, list[Path]], bool],
    mlflow: str | None,
) -> None:
    """Simulate, sweep, and leave report and figure.

    Args:
        console: that is told.
        out: of the sweep.
        simulation: its studies; those to test on first, as they are fewer.
        find: the sweep over training images and test studies.
        write: report and figure.
        words: lines about it.
        log: to MLflow; whether it could.
        mlflow: tracking URI, if any.
    """
    from tune.asl.images import AslImages, phantom_studies

    phantom, readers, told = simulation.phantom, simulation.readers, Simulated(console)
    with stopped_in_words(f"what was trained is kept in {out}, and the same command goes on"):
        tested = phantom_studies(phantom, simulation.n_test_studies, simulation.seed + 1, readers, told)
        images = AslImages.from_phantom(phantom, simulation.n_studies, simulation.seed, 1, readers, told)
        found = find(images, tested)
    files = write(found, out)
    for line in words(found):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print(f"wrote {', '.join(file.name for file in files)} to {out}/", highlight=False, soft_wrap=True)
    if mlflow is not None and log(mlflow, found, files):
        console.print("curves and figure logged to MLflow", highlight=False)
