"""The MLflow seam: one parent run a pool, one child run a member, written by the driver alone.

MLflow is a witness, never a condition: where it cannot be reached, training goes on with one warning.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pool.manifest import PoolManifest
from tune.assemble import software
from tune.settings import TrainingSettings
from tune.training import EpochReport

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "perfusion-pool"
_log = logging.getLogger(__name__)


class Tracking:
    """Writes a pool's training to MLflow; every method is harmless where MLflow cannot be reached.

    Args:
        uri: tracking URI, for example `sqlite:////abs/path/mlflow.db` or `http://host:5000`; None writes nothing.
        experiment: name of the experiment, made if it does not exist.
    """

    def __init__(self, uri: str | None, experiment: str = EXPERIMENT) -> None:
        self._uri, self._experiment = uri, experiment
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self.run_id: str | None = None
        """Id of the parent run; None where nothing is written."""

    def start(self, name: str, settings: TrainingSettings, data_sha256: str, run_id: str | None = None) -> None:
        """Open the store, once and before any trial runs, and the parent run.

        Args:
            name: of the pool.
            settings: become parameters of the parent run.
            data_sha256: hash of the labelled set, a tag.
            run_id: parent run of a training that is resumed.
        """
        if self._uri is None:
            return
        with self._harmless("started"):
            self._client = _connect(self._uri)
            self._experiment_id = _find_or_make_experiment(self._client, self._experiment, self._uri)
            if run_id is not None:
                self._client.set_tag(run_id, "resumed", "true")
                self._client.update_run(run_id, status="RUNNING")
                self.run_id = run_id
                return
            tags = {
                "kind": "pool",
                "data_sha256": data_sha256,
                "settings_sha256": settings.sha256(),
                "code": software(),
            }
            run = self._client.create_run(self._experiment_id, run_name=name, tags=tags)
            self.run_id = run.info.run_id
            self._log_params(self.run_id, _flat(settings.to_dict()))

    def log_epoch(self, report: EpochReport) -> None:
        """A point of the seed's curves, on the parent run."""
        with self._harmless("written to"):
            suffix = f"/seed-{report.seed}"
            values = {f"validation_dice{suffix}": report.validation_dice, f"train_loss{suffix}": report.train_loss}
            self._log_metrics(self.run_id, values | {f"n_patches_per_s{suffix}": report.n_patches_per_s}, report.epoch)

    def log_members(self, manifest: PoolManifest, pool_dir: Path, reports: Sequence[EpochReport]) -> None:
        """A finished run a member, its curves up to its own epoch under the same names for all, and its weights.

        Args:
            manifest: of the pool.
            pool_dir: its folder.
            reports: of all epochs of all seeds, those before a resume included.
        """
        for member in manifest.members:
            with self._harmless("written to"):
                if self._client is None or self.run_id is None:
                    return
                tags = {
                    "mlflow.parentRunId": self.run_id,
                    "kind": "member",
                    "member_id": member.id,
                    "weights_sha256": member.weights_sha256,
                }
                run_id = self._client.create_run(self._experiment_id, run_name=member.id, tags=tags).info.run_id
                try:
                    self._log_params(
                        run_id,
                        {"seed": member.seed, "epoch": member.epoch, **_flat({"network": member.network.to_dict()})},
                    )
                    for report in _curve(reports, member.seed, member.epoch):
                        values = {"validation_dice": report.validation_dice, "train_loss": report.train_loss}
                        self._log_metrics(run_id, values, report.epoch)
                    self._client.log_artifact(run_id, str(pool_dir / member.weights_name), "weights")
                except BaseException:
                    self._client.set_terminated(run_id, "FAILED")
                    raise
                self._client.set_terminated(run_id, "FINISHED")

    def finish(self, manifest: PoolManifest) -> None:
        """Close the parent run with the pool's identity."""
        with self._harmless("closed"):
            if self._client is None or self.run_id is None:
                return
            best = max(member.validation_dice for member in manifest.members)
            self._log_metrics(self.run_id, {"n_members": manifest.n_members, "best_validation_dice": best}, 0)
            self._client.set_tag(self.run_id, "pool_sha256", manifest.sha256())
            self._client.set_terminated(self.run_id, "FINISHED")

    def fail(self, reason: str) -> None:
        """Close the parent run as failed, with the reason."""
        with self._harmless("closed"):
            if self._client is None or self.run_id is None:
                return
            self._client.set_tag(self.run_id, "failure", reason[:5000])
            self._client.set_terminated(self.run_id, "FAILED")

    def _log_params(self, run_id: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        if self._client is not None:
            self._client.log_batch(run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def _log_metrics(self, run_id: str | None, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        if self._client is not None and run_id is not None:
            now_ms = int(time.time() * 1000)
            self._client.log_batch(run_id, metrics=[Metric(key, float(v), now_ms, step) for key, v in values.items()])

    @contextmanager
    def _harmless(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if self._uri is not None and (self._client is not None or verb == "started"):
                _log.warning("MLflow could not be %s (%s); training goes on without it.", verb, type(error).__name__)
            self._client = self.run_id = None


def _curve(reports: Sequence[EpochReport], seed: int, last_epoch: int) -> list[EpochReport]:
    return sorted((r for r in reports if r.seed == seed and r.epoch <= last_epoch), key=lambda r: r.epoch)


def _connect(uri: str) -> MlflowClient:
    # MLflow's own default is 7 retries of up to two minutes each, during which nothing would be trained
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _find_or_make_experiment(client: MlflowClient, name: str, uri: str) -> str:
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


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as `network.width`: one MLflow parameter each."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
