"""Requests to an MLflow store: how to connect, where artifacts lie, how many rows a request takes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRICS_A_REQUEST = 800
"""MLflow takes 1,000 rows in a request."""


def log_batches(
    client: MlflowClient,
    run_id: str,
    params: dict[str, str] | None = None,
    metrics: Sequence[tuple[dict[str, float], int]] = (),
) -> None:
    """Parameters, and metrics with their steps, in as few requests as MLflow's limits allow."""
    from mlflow.entities import Metric, Param

    now_ms = int(time.time() * 1000)
    points = [Metric(key, float(value), now_ms, step) for values, step in metrics for key, value in values.items()]
    client.log_batch(run_id, points[:METRICS_A_REQUEST], [Param(key, value) for key, value in (params or {}).items()])
    for i in range(METRICS_A_REQUEST, len(points), METRICS_A_REQUEST):
        client.log_batch(run_id, points[i : i + METRICS_A_REQUEST])


def connect(uri: str) -> MlflowClient:
    """A client that gives up soon and speaks only of what went wrong."""
    # MLflow's own default is 7 retries of up to two minutes each, during which nothing would be trained
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def find_or_make_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment; a new one is shown by the UI as model development."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    tags = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, artifact_location=_artifact_location(uri), tags=tags))


def _artifact_location(uri: str) -> str | None:
    """Beside an SQLite store, so that both can be moved or deleted together; a server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    store = Path(uri.removeprefix("sqlite:///")).resolve()
    return (store.parent / f"{store.stem}-artifacts").as_uri()
