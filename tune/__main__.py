"""Command line: `python -m tune COMMAND`."""

from __future__ import annotations

import typer

from tune.cli.asl_experiments import app as asl
from tune.cli.bench import bench
from tune.cli.dataset import dataset
from tune.cli.evaluate import evaluate
from tune.cli.register import register
from tune.cli.search import search
from tune.cli.send_logs import send_logs
from tune.cli.train import train

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Make pools of networks.", pretty_exceptions_enable=False
)


@app.callback()
def main() -> None:
    """Make pools of networks."""


app.command()(train)
app.command()(search)
app.command()(bench)
app.command()(send_logs)
app.command()(register)
app.command()(evaluate)
app.command()(dataset)
app.add_typer(asl, name="asl")

if __name__ == "__main__":
    app()
