"""`python -m serve run --pool DIR`, `python -m serve send STUDY --url URL --out DIR`, `python -m serve batch DIR`."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from pool.member import PRETRAINED
from pool.output import check_writable
from pool.progress import ProgressBar
from serve.batch.command import batch
from serve.client import ServiceClient
from serve.command_line import refusals_in_words, say
from serve.http.tokens import first_token
from serve.local import running_service
from serve.pacs.command import pacs
from serve.ray_start import connect_to_running
from serve.rolling import roll_to, settings_for_roll
from serve.settings import ServiceSettings

app = typer.Typer(help="The perfusion pool as a service. Research use only. Not for diagnosis.", no_args_is_help=True)


@app.command()
def run(
    pool: Annotated[
        str, typer.Option(help="Folder with manifest.json and weights, models:/NAME@ALIAS or models:/NAME/3.")
    ] = str(PRETRAINED),
    mlflow: Annotated[
        str | None, typer.Option(help="MLflow registry that knows models:/..., e.g. http://host:5000.")
    ] = None,
    studies: Annotated[Path | None, typer.Option(help="Folder of the study store (default: studies).")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (default: 127.0.0.1); any but loopback needs --tokens.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default: 8000).")] = None,
    shards: Annotated[int | None, typer.Option(help="Shards that the pool is dealt to (default: 2).")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads of every shard (default: 1).")] = None,
    rule: Annotated[str | None, typer.Option(help="Selection rule (default: min-u_pp).")] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="File of bearer tokens, a line 'name token' each: who may ask.")
    ] = None,
) -> None:
    """Serve a pool on this machine until Ctrl-C. Every other setting: environment variables POOL_SERVE_..."""
    given = {
        "mlflow_uri": mlflow,
        "studies_dir": studies,
        "host": host,
        "port": port,
        "n_shards": shards,
        "threads_per_shard": threads,
        "rule": rule,
        "token_file": tokens,
    }
    with refusals_in_words():
        settings = ServiceSettings(pool_dir=pool, **{key: value for key, value in given.items() if value is not None})
        with ExitStack() as stack:
            with ProgressBar("fetching the pool, starting Ray Serve, loading and verifying"):
                settings = settings.with_local_pool()
                url = stack.enter_context(running_service(settings))
            stopped = threading.Event()
            for number in (signal.SIGINT, signal.SIGTERM):  # now, because Ray has set its own at its start
                signal.signal(number, lambda *_: stopped.set())
            if settings.pool_origin:
                say.print(f"pool {settings.pool_origin}", highlight=False)
            say.print(f"ready at {url}, documented at {url}/docs; Ctrl-C stops it")
            stopped.wait()
            say.print("stopping; unfinished studies are taken up again at the next start")


@app.command()
def send(
    study: Annotated[Path, typer.Argument(help="DICOM folder or zip, .mat, .npz or NIfTI.")],
    out: Annotated[Path, typer.Option(help="Folder for the results: new, empty or an earlier result.")],
    url: Annotated[str, typer.Option(help="Of the service.")] = "http://127.0.0.1:8000",
    tokens: Annotated[
        Path | None, typer.Option(help="File whose first line 'name token' holds the token to ask with.")
    ] = None,
    patience: Annotated[
        float, typer.Option(help="How long to try again while the service is full or restarts [s].")
    ] = 120.0,
) -> None:
    """Send a study to a service, wait for it and fetch its results."""
    with refusals_in_words():
        check_writable(out)
        token = first_token(tokens) if tokens else None
        with ServiceClient(url, token=token, patience_s=patience) as client:
            sent = client.send(study)
            with ProgressBar("member sweeps") as bar:
                client.wait(sent.id, lambda view: bar(view.n_sweeps_done, view.n_sweeps))
            files = client.fetch(sent.id, out)
    say.print(f"wrote {', '.join(path.name for path in files)} to {out}")


@app.command()
def roll(
    pool: Annotated[str, typer.Option(help="The new pool: folder, models:/NAME@ALIAS or models:/NAME/3.")],
    mlflow: Annotated[str | None, typer.Option(help="MLflow registry that knows models:/...")] = None,
    studies: Annotated[Path, typer.Option(help="Folder of the running service's study store.")] = Path("studies"),
    shards: Annotated[int | None, typer.Option(help="Shards of the new pool (default: as before).")] = None,
) -> None:
    """Take the running service to another pool; studies that were sent before finish on the one before."""
    with refusals_in_words():
        settings = settings_for_roll(studies, pool, mlflow, shards)
        with ProgressBar("loading and trying the new pool, then finishing studies of the old one") as bar:
            connect_to_running()
            roll_to(settings, bar)
    say.print(f"studies are now analysed with the pool in {settings.pool_dir}", highlight=False)


app.command()(batch)
app.command()(pacs)


if __name__ == "__main__":
    app()
