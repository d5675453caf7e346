"""What all commands of `python -m serve` share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from pool.errors import PoolError

EXIT_REFUSED = 2
say = Console()
complain = Console(stderr=True)


@contextmanager
def refusals_in_words() -> Iterator[None]:
    """An error of ours is one sentence and exit code 2, never a traceback."""
    try:
        yield
    except PoolError as error:
        complain.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_REFUSED) from error
