"""The MLflow seam: one parent run a pool, one child run a checkpoint, written by the driver alone.

Members are the children tagged `member` = `true`, and they alone carry weights.

MLflow is a witness, never a condition: where it cannot be reached, training goes on with one warning.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pool.manifest import PoolManifest
from pool.networks import NetworkSpec
from tune.assemble import Candidate, software
from tune.fields import flat_fields
from tune.mlflow_store import connect, find_or_make_experiment, log_batches
from tune.settings import TrainingSettings
from tune.training import EpochReport

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "perfusion-pool"
MOST_FAILURES = 3
"""Failures in a row after which nothing more is written but the end of the parent run."""
MOST_TAG_CHARACTERS = 5000
_log = logging.getLogger(__name__)


class Tracking:
    """Writes a pool's training to MLflow; every method is harmless where MLflow cannot be reached.

    A context manager: leaving it ends the parent run, as `FAILED` with the reason if by an error, Ctrl-C included.

    Args:
        uri: tracking URI, for example `sqlite:////abs/path/mlflow.db` or `http://host:5000`; None writes nothing.
        experiment: name of the experiment, made if it does not exist.
    """

    def __init__(self, uri: str | None, experiment: str = EXPERIMENT) -> None:
        self._uri, self._experiment = uri, experiment
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._children: dict[str, str] = {}
        self._members: set[str] = set()
        self._n_failures = 0
        self._warned = False
        self.run_id: str | None = None
        """Id of the parent run; None where nothing is written."""

    def __enter__(self) -> Tracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is None or self.run_id is None:
            return
        try:  # even after writing was given up: a run that stays RUNNING would lie
            if error is not None:
                reason = f"{type(error).__name__}: {error}"
                self._client.set_tag(self.run_id, "failure", reason[:MOST_TAG_CHARACTERS])
        except Exception as failure:
            self._warn("written to", failure)
        try:
            self._client.set_terminated(self.run_id, "FINISHED" if error is None else "FAILED")
        except Exception as failure:
            self._warn("closed", failure)

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
            client = connect(self._uri)
            self._experiment_id = find_or_make_experiment(client, self._experiment, self._uri)
            self._client = client
            if run_id is not None:
                self._take_up(client, run_id, settings)
                return
            tags = {
                "kind": "pool",
                "data_sha256": data_sha256,
                "settings_sha256": settings.sha256(),
                "code": software(),
            }
            self.run_id = client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
            log_batches(client, self.run_id, _flat_params(settings.to_dict()))

    def log_epoch(self, report: EpochReport) -> None:
        """A point of the seed's curves, on the parent run."""
        if (run_id := self.run_id) is None or (client := self._open_client()) is None:
            return
        with self._harmless("written to"):
            suffix = f"/seed-{report.seed}"
            values = {**_curve_values(report), "n_patches_per_s": report.n_patches_per_s}
            log_batches(client, run_id, metrics=[({f"{key}{suffix}": v for key, v in values.items()}, report.epoch)])

    def log_checkpoints(self, candidates: Sequence[Candidate], network: NetworkSpec) -> None:
        """A finished run a checkpoint, tagged `member` = `false`: its curves up to its own epoch, same names for all.

        Args:
            candidates: all checkpoints of all seeds, those before a resume included; one that has a run keeps it.
            network: of all of them.
        """
        for candidate in sorted(candidates, key=lambda c: (c.report.seed, c.report.epoch)):
            if candidate.member_id in self._children:
                continue
            if (parent_id := self.run_id) is None or (client := self._open_client()) is None:
                return
            with self._harmless("written to"):
                seed, epoch = candidate.report.seed, candidate.report.epoch
                tags = {
                    "mlflow.parentRunId": parent_id,
                    "kind": "checkpoint",
                    "member_id": candidate.member_id,
                    "member": "false",
                }
                params = {"seed": str(seed), "epoch": str(epoch), **_flat_params({"network": network.to_dict()})}
                curve = [c.report for c in candidates if c.report.seed == seed and c.report.epoch <= epoch]
                metrics = [(_curve_values(report), report.epoch) for report in sorted(curve, key=lambda r: r.epoch)]
                run = client.create_run(self._experiment_id, run_name=candidate.member_id, tags=tags)
                status = "FAILED"
                try:
                    log_batches(client, run.info.run_id, params, metrics)
                    status = "FINISHED"
                finally:
                    client.set_terminated(run.info.run_id, status)
                self._children[candidate.member_id] = run.info.run_id

    def log_pool(self, manifest: PoolManifest, pool_dir: Path) -> None:
        """Weights and `member` = `true` to the runs of the members, the pool's identity to the parent run.

        Args:
            manifest: of the pool.
            pool_dir: its folder.
        """
        for member in manifest.members:
            run_id = self._children.get(member.id)
            if run_id is None or (client := self._open_client()) is None:
                continue
            with self._harmless("written to"):
                client.log_artifact(run_id, str(pool_dir / member.weights_name), "weights")
                client.set_tag(run_id, "weights_sha256", member.weights_sha256)
                client.set_tag(run_id, "member", "true")
        for member_id in self._members - {member.id for member in manifest.members}:  # of the pool before a resume
            if (client := self._open_client()) is not None:
                with self._harmless("written to"):
                    client.set_tag(self._children[member_id], "member", "false")
        if (parent_id := self.run_id) is None or (client := self._open_client()) is None:
            return
        with self._harmless("written to"):
            best = max(member.validation_dice for member in manifest.members)
            values = {"n_members": float(manifest.n_members), "best_validation_dice": best}
            log_batches(client, parent_id, metrics=[(values, 0)])
            client.set_tag(parent_id, "pool_sha256", manifest.sha256())

    def _take_up(self, client: MlflowClient, run_id: str, settings: TrainingSettings) -> None:
        """The parent run of a resumed training and its finished children; one cut off half-written is made again."""
        parent = client.get_run(run_id)
        client.update_run(run_id, status="RUNNING")
        self.run_id = run_id
        if "failure" in parent.data.tags:
            client.delete_tag(run_id, "failure")
        # MLflow never changes a parameter, and these two may differ from what the run was started with
        chosen_by = f"n_checkpoints {settings.n_checkpoints}, least_validation_dice {settings.least_validation_dice:g}"
        client.set_tag(run_id, "resumed_with", chosen_by)
        client.set_tag(run_id, "settings_sha256", settings.sha256())
        token: str | None = None
        while token != "":
            found = client.search_runs(
                [self._experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'", page_token=token
            )
            for child in found:
                if child.info.status != "FINISHED":
                    client.delete_run(child.info.run_id)
                    continue
                member_id = child.data.tags["member_id"]
                self._children[member_id] = child.info.run_id
                if child.data.tags["member"] == "true":
                    self._members.add(member_id)
            token = found.token or ""

    def _open_client(self) -> MlflowClient | None:
        """The client, unless it failed so often in a row that waiting for it would only delay the training."""
        return self._client if self._n_failures < MOST_FAILURES else None

    @contextmanager
    def _harmless(self, verb: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._n_failures += 1
            self._warn(verb, error)
        else:
            self._n_failures = 0

    def _warn(self, verb: str, error: Exception) -> None:
        if not self._warned:
            _log.warning("MLflow could not be %s (%s); training goes on without it.", verb, type(error).__name__)
        self._warned = True


def _curve_values(report: EpochReport) -> dict[str, float]:
    return {"validation_dice": report.validation_dice, "train_loss": report.train_loss}


def _flat_params(fields: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in flat_fields(fields).items()}
