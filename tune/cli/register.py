"""`python -m tune register`: a pool folder made earlier, as a version of a registered model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pool.errors import PoolError
from tune.cli.refusal import refuse
from tune.tracking.registry import DEFAULT_ALIAS, RegistryName


def register(
    pool: Annotated[Path, typer.Option(help="Folder of the pool: manifest.json and weights.")],
    mlflow: Annotated[str, typer.Option(help="MLflow tracking URI, e.g. http://host:5000.")],
    name: Annotated[str, typer.Option(help="Of the registered model.")],
    alias: Annotated[str, typer.Option(help="Points to this version from now on.")] = DEFAULT_ALIAS,
) -> None:
    """Register a pool in MLflow, so that a service can be given models:/NAME@ALIAS."""
    try:
        target = RegistryName(name, alias)
        from tune.register import register_pool

        version = register_pool(pool, mlflow, target)
    except PoolError as error:
        refuse(error)
    Console().print(f"models:/{name}/{version}, also models:/{name}@{alias}", highlight=False, soft_wrap=True)
