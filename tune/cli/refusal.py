"""How a command says what it cannot do."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

from pool.errors import PoolError


def refuse(error: PoolError) -> NoReturn:
    """End the command with the error's sentence and exit code 2."""
    Console(stderr=True).print(str(error), style="red", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(2) from error
