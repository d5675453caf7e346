"""`python -m tune send-logs`: what a training logged while MLflow could not be reached."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pool.errors import PoolError
from tune.cli.refusal import refuse
from tune.errors import JournalError, MlflowError


def send_logs(
    storage: Annotated[Path, typer.Option(help="Storage folder of the training, or the folder that its log is in.")],
    mlflow: Annotated[str, typer.Option(help="MLflow tracking URI, e.g. http://host:5000.")],
) -> None:
    """Send the log of a training to MLflow; what arrived before is not sent again, or changes nothing."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        n_sent, n_refused = _send(storage, mlflow)
    except PoolError as error:
        refuse(error)
    refused = f", {n_refused} not taken" if n_refused else ""
    Console().print(f"{n_sent} entries sent{refused}", highlight=False)


def _send(storage: Path, uri: str) -> tuple[int, int]:
    from tune.tracking.journal import Journal
    from tune.tracking.recorder import EXPERIMENT, LOG_FOLDER
    from tune.tracking.sender import Sender

    folder = next((path for path in (storage / LOG_FOLDER, storage) if Journal.exists(path)), None)
    if folder is None:
        remedy = "Name the folder that was given to `train` as --storage."
        raise JournalError(f"folder {storage.name}", "must hold the log of a training", "none", remedy)
    try:
        journal = Journal(folder)
    except OSError as error:
        found, remedy = error.strerror or type(error).__name__, "Allow writing there, or copy it elsewhere."
        raise JournalError(
            f"folder {folder.name}", "must be writable: what was sent is noted there", found, remedy
        ) from error
    try:
        sender = Sender(journal, uri, EXPERIMENT)
        n_before = sender.n_left
        try:
            sender.send()
        except Exception as error:
            found = f"{type(error).__name__} with {sender.n_left} of {n_before} entries left"
            remedy = "Is the server running, and is --mlflow right? The same command goes on where it stopped."
            raise MlflowError("MLflow", "must take the log", found, remedy) from error
        return n_before, sender.n_refused
    finally:
        journal.close()
