"""A search in MLflow: one parent run, one child run a trial, the same names for all, written by the driver alone.

MLflow is a witness, never a condition: where it cannot be reached, the search goes on with one warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tune.assemble import software
from tune.fields import flat_fields
from tune.mlflow_store import connect, find_or_make_experiment, log_batches, runs_below
from tune.search_outcome import RankedConfiguration, TrialOutcome
from tune.search_space import SearchSettings
from tune.training import EpochReport

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "perfusion-pool-search"
MOST_FAILURES = 3
"""Failures in a row after which nothing more is written but the end of the parent run."""
_log = logging.getLogger(__name__)


class SearchTracking:
    """Writes a search to MLflow; every method is harmless where MLflow cannot be reached.

    A context manager: leaving it ends the parent run, as `FAILED` if by an error, Ctrl-C included. The runs of trials
    that are then under way stay open to a resume and are ended as `KILLED`.

    Args:
        uri: tracking URI; None writes nothing.
        experiment: name of the experiment, made if it does not exist.
    """

    def __init__(self, uri: str | None, experiment: str = EXPERIMENT) -> None:
        self._uri, self._experiment = uri, experiment
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._children: dict[str, str] = {}
        self._open: set[str] = set()
        self._n_failures = 0
        self._warned = False
        self.run_id: str | None = None
        """Id of the parent run; None where nothing is written."""

    def __enter__(self) -> SearchTracking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._n_failures = 0  # even after writing was given up: a run that stays RUNNING would lie
        for run_id in [self._children[trial_id] for trial_id in self._open]:
            self._attempt(partial(_end, run_id=run_id, status="KILLED"))
        self._attempt(partial(_end, run_id=str(self.run_id), status="FINISHED" if error is None else "FAILED"))

    def start(self, name: str, search: SearchSettings, data_sha256: str, run_id: str | None = None) -> None:
        """Open the store, once and before any trial runs, and the parent run.

        Args:
            name: of the search.
            search: becomes parameters of the parent run.
            data_sha256: hash of the labelled set, a tag.
            run_id: parent run of a search that is resumed.
        """
        if (uri := self._uri) is None:
            return

        def open_parent(_: object) -> None:
            client = connect(uri)
            self._experiment_id = find_or_make_experiment(client, self._experiment, uri)
            if run_id is not None:
                client.update_run(run_id, status="RUNNING")
                below = runs_below(client, self._experiment_id, run_id)
                self._children = {run.data.tags["trial_id"]: str(run.info.run_id) for run in below}
                self.run_id = run_id
            else:
                tags = {"kind": "search", "data_sha256": data_sha256, "code": software()}
                self.run_id = client.create_run(self._experiment_id, run_name=name, tags=tags).info.run_id
                params = {key: str(value) for key, value in flat_fields(search.to_dict()).items()}
                log_batches(client, self.run_id, params)
            self._client = client

        self._harmless(open_parent, None)

    def log_trial(self, trial: TrialOutcome, ended: bool) -> None:
        """A trial's curves so far; its run is made when it is first heard of, and ended with the trial.

        Args:
            trial: with all its epochs, the last of them new unless it `ended`.
            ended: whether it came to its end.
        """

        def write(client: MlflowClient) -> None:
            run_id = self._children.get(trial.id)
            if run_id is None:
                run_id = self._make_child(client, trial)
            elif trial.id not in self._open:
                client.update_run(run_id, status="RUNNING")
                self._open.add(trial.id)
            if not ended:
                log_batches(client, run_id, metrics=[_point(trial.epochs[-1])])
            else:
                client.set_tag(run_id, "stopped", str(trial.unfinished).lower())
                if trial.failure is not None:
                    client.set_tag(run_id, "failure", trial.failure)
                client.set_terminated(run_id, "FINISHED" if trial.failure is None else "FAILED")
                self._open.discard(trial.id)

        self._attempt(write)

    def log_best(self, best: RankedConfiguration) -> None:
        """What the search found, on the parent run."""

        def write(client: MlflowClient) -> None:
            client.set_tag(str(self.run_id), "best", str(best.configuration))
            log_batches(client, str(self.run_id), metrics=[({"best_validation_dice": best.validation_dice}, 0)])

        self._attempt(write)

    def _make_child(self, client: MlflowClient, trial: TrialOutcome) -> str:
        tags = {"mlflow.parentRunId": str(self.run_id), "kind": "trial", "trial_id": trial.id}
        run = client.create_run(self._experiment_id, run_name=trial.id, tags=tags)
        self._children[trial.id] = str(run.info.run_id)
        self._open.add(trial.id)
        configuration = trial.configuration
        params = {
            "patch_px": str(configuration.patch_px),
            "stride_px": str(configuration.stride_px),
            "learning_rate": f"{configuration.learning_rate:g}",
            "loss": configuration.loss,
            "seed": str(trial.seed),
        }
        log_batches(client, run.info.run_id, params, [_point(epoch) for epoch in trial.epochs[:-1]])
        return str(run.info.run_id)

    def _attempt(self, write: Callable[[MlflowClient], None]) -> None:
        """Unless it failed so often in a row that waiting for it would only delay the search."""
        if self._client is not None and self._n_failures < MOST_FAILURES:
            self._harmless(write, self._client)

    def _harmless(self, write: Callable[[Any], None], client: MlflowClient | None) -> None:
        try:
            write(client)
        except Exception as error:
            self._n_failures += 1
            if not self._warned:
                _log.warning(
                    "MLflow could not be written to (%s); the search goes on without it.", type(error).__name__
                )
            self._warned = True
        else:
            self._n_failures = 0


def _end(client: MlflowClient, run_id: str, status: str) -> None:
    client.set_terminated(run_id, status)


def _point(epoch: EpochReport) -> tuple[dict[str, float], int]:
    names = ("validation_dice", "train_loss", "n_patches_per_s")
    return {name: getattr(epoch, name) for name in names}, epoch.epoch
