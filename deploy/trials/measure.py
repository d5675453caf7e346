"""`python -m deploy.trials.measure overhead | starting | fifty | soak`: figures of the service, as JSON in benchmarks/.

Each prints what it found and ends with exit code 1 where a promise does not hold.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from deploy.trials.fifty import measure_many_shards
from deploy.trials.overhead import measure_overhead
from deploy.trials.soak import soak as soak_service
from deploy.trials.starting import measure_starting
from pool.engine.machine import Machine
from serve.command_line import refusals_in_words

Out = Annotated[Path, typer.Option(help="Folder for the JSON file.")]
app = typer.Typer(help="Figures of the service on this machine.", no_args_is_help=True)
_console = Console()


@app.command()
def overhead(
    members: Annotated[int, typer.Option(help="Members of the pool that ships.", min=1, max=50)] = 6,
    shards: Annotated[int, typer.Option(help="Shards, and threads of the one process.", min=1)] = 2,
    rounds: Annotated[int, typer.Option(help="Studies, each both ways.", min=1)] = 3,
    stride: Annotated[int, typer.Option(help="Stride of the U-map [px].")] = 2,
    out: Out = Path("benchmarks"),
) -> None:
    """Time of a study through HTTP over its time in one process, on as many threads, in turn."""
    _conclude("overhead", out, lambda folder: measure_overhead(folder, members, shards, rounds, stride, _say))


@app.command()
def starting(
    shards: Annotated[int, typer.Option(help="Shards.", min=1)] = 2,
    rounds: Annotated[int, typer.Option(help="Starts.", min=1)] = 3,
    out: Out = Path("benchmarks"),
) -> None:
    """From the command to ready, and memory of the idle service, with the pool that ships."""
    _conclude("starting", out, lambda folder: measure_starting(folder, shards, rounds, _say))


@app.command()
def fifty(
    shards: Annotated[int, typer.Option(help="Shards, one tiny member each.", min=1)] = 50,
    studies: Annotated[int, typer.Option(help="Small studies.", min=1)] = 3,
    out: Out = Path("benchmarks"),
) -> None:
    """Many shards on this machine for real. Fifty take some 13 GB."""
    _conclude(f"{shards}-shards", out, lambda folder: measure_many_shards(folder, shards, studies, _say))


@app.command()
def soak(
    minutes: Annotated[float, typer.Option(help="How long.", min=0.1)] = 30.0,
    clients: Annotated[int, typer.Option(help="Clients that send one small study after the other.", min=1)] = 2,
    out: Out = Path("benchmarks"),
) -> None:
    """Studies without a pause; the slope of memory."""
    _conclude("soak", out, lambda folder: soak_service(folder, minutes, clients, _say))


def _conclude(name: str, out: Path, measure: Callable[[Path], dict[str, Any]]) -> None:
    with refusals_in_words(), tempfile.TemporaryDirectory(prefix="measure-") as folder:
        load_before = os.getloadavg()[0]
        found = measure(Path(folder))
    machine = {
        **Machine.here(torch.device("cpu")).to_dict(),
        "load_before": load_before,
        "load_after": os.getloadavg()[0],
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"service-{name}.json"
    path.write_text(json.dumps({"machine": machine, **found}, indent=1) + "\n", encoding="utf-8")
    for field, value in found.items():
        if field not in ("samples", "rounds"):
            _say(f"{field}: {value}")
    _say(f"wrote {path}")
    if not found["holds"]:
        raise typer.Exit(1)


def _say(line: str) -> None:
    _console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    app()
