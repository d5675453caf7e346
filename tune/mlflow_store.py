"""Requests to an MLflow store: how to connect, where artifacts lie, how many rows a request takes, what is hopeless."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

METRICS_A_REQUEST = 800
"""MLflow takes 1,000 rows in a request, of which 100 parameters."""
MAY_PASS = frozenset((401, 403, 408, 409, 425, 429, 499))
"""HTTP statuses of refusals that may pass: a password is mended, a server has less to do."""


def log_batches(
    client: MlflowClient,
    run_id: str,
    params: Mapping[str, str] | None = None,
    metrics: Sequence[tuple[dict[str, float], int]] = (),
) -> None:
    """Parameters, and metrics of this moment with their steps."""
    now_ms = int(time.time() * 1000)
    points = [(key, value, step, now_ms) for values, step in metrics for key, value in values.items()]
    log_points(client, run_id, params or {}, points)


def log_points(
    client: MlflowClient, run_id: str, params: Mapping[str, str], points: Sequence[tuple[str, float, int, int]]
) -> None:
    """Parameters and metrics in as few requests as MLflow's limits allow; a second time it changes nothing.

    Args:
        client: of the store.
        run_id: of the run.
        params: at most 100; a parameter never changes.
        points: name, value, step and time [ms since 1970].
    """
    from mlflow.entities import Metric, Param

    metrics = [Metric(name, float(value), time_ms, step) for name, value, step, time_ms in points]
    client.log_batch(run_id, metrics[:METRICS_A_REQUEST], [Param(key, value) for key, value in params.items()])
    for i in range(METRICS_A_REQUEST, len(metrics), METRICS_A_REQUEST):
        client.log_batch(run_id, metrics[i : i + METRICS_A_REQUEST])


def is_hopeless(error: Exception) -> bool:
    """Whether a store refused what it was asked, and would again; False where it was only not to be reached."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException):
        return False
    status = error.get_http_status_code()
    return 400 <= status < 500 and status not in MAY_PASS


def connect(uri: str) -> MlflowClient:
    """A client that gives up soon and speaks only of what went wrong."""
    # MLflow's own default is 7 retries of up to two minutes each, during which nothing would be trained
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells of every further try
    return MlflowClient(tracking_uri=uri)


def runs_below(client: MlflowClient, experiment_id: str, parent_id: str) -> Iterator[Run]:
    """All child runs of a run, page by page."""
    token: str | None = None
    while token != "":
        found = client.search_runs([experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'", page_token=token)
        yield from found
        token = found.token or ""


def find_run_of_pool(client: MlflowClient, pool_sha256: str) -> Run | None:
    """The run of a pool in whatever experiment, that of its training rather than of an evaluation, the latest."""
    experiments = [str(item.experiment_id) for item in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.pool_sha256 = '{pool_sha256}'", max_results=100)
    return min(found, key=lambda run: (run.data.tags.get("kind") != "pool", -run.info.start_time), default=None)


def find_or_make_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Id of the experiment; a new one is shown by the UI as model development."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        tags = {"mlflow.experimentKind": "custom_model_development"}
        try:
            return str(client.create_experiment(name, artifact_location=_artifact_location(uri), tags=tags))
        except MlflowException:  # somebody else has made it in the meantime
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _artifact_location(uri: str) -> str | None:
    """Beside an SQLite store, so that both can be moved or deleted together; a server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    store = Path(uri.removeprefix("sqlite:///")).resolve()
    return (store.parent / f"{store.stem}-artifacts").as_uri()
