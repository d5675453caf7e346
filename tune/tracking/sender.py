"""From the journal to MLflow, in order: whatever was sent before, or half sent, is found there and not made twice."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pool.manifest import PoolManifest
from tune.mlflow_store import connect, find_or_make_experiment, is_hopeless, log_points
from tune.tracking.entries import Entry, FileLogged, PoolRegistered, RunLogged, RunStarted, RunStatus, RunTagged
from tune.tracking.journal import Journal
from tune.tracking.registry import RegistryName, register_files

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_TAG = "log_id"
"""Tag of every run: training and run, as the journal names them. A run is looked up by it before it is made."""
_log = logging.getLogger("tune.tracking")


class Sender:
    """Sends a journal to one MLflow store.

    How far it came is noted beside the journal, for each store on its own. The note only saves time: sending again what
    a store has already changes nothing there (runs are looked up, points of the same time and step are one point).

    Args:
        journal: what to send.
        uri: of the store.
        experiment: its experiment, made if it does not exist.
    """

    def __init__(self, journal: Journal, uri: str, experiment: str) -> None:
        self._journal, self._uri, self._experiment = journal, uri, experiment
        digest = hashlib.sha256(f"{uri}\n{experiment}".encode()).hexdigest()  # a URI may hold a password
        self._note = journal.folder / f"sent-{digest[:12]}.json"
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._run_ids: dict[str, str] = {}
        self._n_sent = 0
        self.n_refused = 0
        """Entries that the store will never take, or whose file is gone."""
        self._read_note()

    @property
    def n_left(self) -> int:
        """Entries still to be sent."""
        return len(self._journal.entries) - self._n_sent

    def send(self) -> None:
        """Send what is left, entry by entry.

        Raises:
            Exception: whatever MLflow raises where it cannot be reached; that entry and all after it are left.
        """
        while self.n_left:
            if self._client is None:
                client = connect(self._uri)
                self._experiment_id = find_or_make_experiment(client, self._experiment, self._uri)
                self._client = client
            entry = self._journal.entries[self._n_sent]
            try:
                self._apply(self._client, entry)
            except Exception as error:
                if not is_hopeless(error):
                    raise
                self._refused(entry, type(error).__name__)
            self._n_sent += 1
            self._write_note()
            for file in _files_of(entry):
                self._journal.drop(file)

    def _apply(self, client: MlflowClient, entry: Entry) -> None:
        run_id = self._run_id(client, entry.run)
        if isinstance(entry, RunStarted):
            if run_id is None:
                self._run_ids[entry.run] = self._start(client, entry)
        elif run_id is None:
            self._refused(entry, "no such run")
        elif isinstance(entry, RunLogged):
            points = [(point.name, point.value, point.step, point.time_ms) for point in entry.points]
            log_points(client, run_id, entry.params, points)
        elif isinstance(entry, RunTagged):
            _set_tags(client, run_id, entry.tags)
        elif isinstance(entry, RunStatus):
            if entry.status == "RUNNING":
                client.update_run(run_id, status="RUNNING")
            else:
                client.set_terminated(run_id, entry.status, entry.time_ms)
        elif missing := [file for file in _files_of(entry) if not (self._journal.files / file).is_file()]:
            if not (isinstance(entry, FileLogged) and _has_file(client, run_id, entry)):
                self._refused(entry, f"{len(missing)} files are gone")
        elif isinstance(entry, FileLogged):
            client.log_artifact(run_id, str(self._journal.files / entry.file), entry.folder)
        else:
            self._register(client, run_id, entry)

    def _start(self, client: MlflowClient, entry: RunStarted) -> str:
        tags = {**entry.tags, RUN_TAG: self._log_id(entry.run)}
        if entry.parent and (parent_id := self._run_id(client, entry.parent)) is not None:
            tags["mlflow.parentRunId"] = parent_id
        run = client.create_run(self._experiment_id, entry.time_ms, tags, entry.title)
        return str(run.info.run_id)

    def _register(self, client: MlflowClient, run_id: str, entry: PoolRegistered) -> None:
        paths = [self._journal.files / file for file in entry.files]
        manifest = PoolManifest.load(paths[-1].parent)
        register_files(client, self._experiment_id, run_id, manifest, paths, RegistryName(entry.name, entry.alias))

    def _run_id(self, client: MlflowClient, run: str) -> str | None:
        if run not in self._run_ids:
            found = client.search_runs([self._experiment_id], f"tags.{RUN_TAG} = '{self._log_id(run)}'", max_results=1)
            if not found:
                return None
            self._run_ids[run] = str(found[0].info.run_id)
        return self._run_ids[run]

    def _log_id(self, run: str) -> str:
        return f"{self._journal.training_id}:{run}"

    def _refused(self, entry: Entry, why: str) -> None:
        self.n_refused += 1
        _log.warning("MLflow does not take %s of run %s (%s); the rest is sent.", type(entry).__name__, entry.run, why)

    def _read_note(self) -> None:
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            self._n_sent, self._run_ids = min(int(note["n_sent"]), self.n_left), dict(note["run_ids"])
        except (OSError, ValueError, KeyError, TypeError):
            return

    def _write_note(self) -> None:
        part = self._note.with_suffix(".part")
        try:
            part.write_text(json.dumps({"n_sent": self._n_sent, "run_ids": self._run_ids}), encoding="utf-8")
            os.replace(part, self._note)
        except OSError:
            _log.info("how far the log was sent could not be noted")


def _files_of(entry: Entry) -> tuple[str, ...]:
    if isinstance(entry, FileLogged):
        return (entry.file,)
    return entry.files if isinstance(entry, PoolRegistered) else ()


def _set_tags(client: MlflowClient, run_id: str, tags: dict[str, str | None]) -> None:
    for name, value in tags.items():
        if value is not None:
            client.set_tag(run_id, name, value)
        elif name in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, name)


def _has_file(client: MlflowClient, run_id: str, entry: FileLogged) -> bool:
    path = PurePosixPath(entry.folder) / Path(entry.file).name
    return any(found.path == str(path) for found in client.list_artifacts(run_id, entry.folder))
