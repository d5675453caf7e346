"""The study store: every accepted study on disk, from its upload to its results.

    <folder>/<id>/study.json      StudyRecord, replaced atomically
    <folder>/<id>/progress.json   how far a running study is; lost without harm
    <folder>/<id>/events.jsonl    what happened to it, see `serve.store.journal`
    <folder>/<id>/upload/         the files as they were sent, under names of ours
    <folder>/<id>/results/        appears whole or not at all
    <folder>/<id>/.work, .lock    locks: who works on it, who changes its record
    <folder>/.incoming/<id>/      an upload that is not whole yet; never a study
    <folder>/.known/<key>         see `serve.store.known`
    <folder>/.pools/<key>         lock of the runner that works with a pool

A study exists from the moment its folder is renamed out of `.incoming`, with every byte synced to disk. An id is
checked against its pattern before it becomes a path; no name that came with an upload ever does. Several processes on
several machines may use one store, where its file system knows locks (`flock`).
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pool.errors import OutputError
from pool.output import RESULT_NAMES
from serve.durable import replace_file, sync_to_disk
from serve.errors import ResultNotReadyError, UnknownStudyError
from serve.store import journal
from serve.store.basis import Basis
from serve.store.known import KnownStudies
from serve.store.locks import Claim, locked
from serve.store.records import StudyRecord, StudyState, read_record, write_record
from serve.store.uploads import HALF_WRITTEN_KEPT_S, Upload, remove_stale

_ID = re.compile(r"[0-9a-f]{32}")


class StudyStore:
    """Studies in a folder; several processes may use it at once.

    Args:
        folder: made when missing, for its owner alone.

    Raises:
        OutputError: it cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._incoming = folder, folder / ".incoming"
        self._ended: dict[str, StudyRecord] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for own in (self._incoming, folder / ".pools"):
                own.mkdir(exist_ok=True, mode=0o700)
            self.known = KnownStudies(folder)
        except OSError as error:
            raise OutputError("study store", "must be a writable folder", error.strerror or "") from error

    @contextmanager
    def receive(self) -> Iterator[Upload]:
        """An upload to fill and commit; without a commit nothing of it is left after the block."""
        upload = Upload(self._incoming / secrets.token_hex(16), self._folder, self.known)
        try:
            yield upload
        finally:
            upload.discard()

    def discard_half_written(self, older_than_s: float = HALF_WRITTEN_KEPT_S) -> int:
        """Remove uploads that a crash left half written; returns how many."""
        return remove_stale(self._incoming, older_than_s)

    def recognise(self, content_sha256: str, basis: Basis) -> StudyRecord | None:
        """The study that answers for these bytes on this basis: waiting, in work or done; None where there is none."""
        with suppress(UnknownStudyError):
            record = self.get(self.known.find(basis.with_content(content_sha256)) or "")
            if record.answers_again and record.basis == basis:
                return record
        return None

    def get(self, study_id: str) -> StudyRecord:
        """A study's record, with its progress.

        Raises:
            UnknownStudyError: no such study, or something that is no id at all.
        """
        folder = self._study(study_id)
        record = read_record(folder)
        if record.state is not StudyState.RUNNING:
            return record
        with suppress(OSError, ValueError):
            record = replace(record, n_sweeps_done=int((folder / "progress.json").read_text()))
        return record

    def records(self) -> list[StudyRecord]:
        """All studies, the oldest first. Those that have ended are read once: they do not change any more."""
        records = []
        for path in self._folder.iterdir():
            with suppress(UnknownStudyError):  # removed meanwhile, or not ours
                records.append(self._ended.get(path.name) or self.get(path.name))
        self._ended = {record.id: record for record in records if record.state.is_final}
        return sorted(records, key=lambda record: (record.created_at, record.id))

    def unfinished(self) -> list[StudyRecord]:
        """Studies that still need work, the oldest first: all of them, whatever restarted in between."""
        return [record for record in self.records() if not record.state.is_final]

    def events(self, study_id: str, after: int = 0) -> list[journal.Event]:
        """What happened to a study after that line of its journal."""
        return journal.read_after(self._study(study_id), after)

    def upload_files(self, study_id: str) -> list[Path]:
        """The files of a study, in the order they were sent."""
        return sorted((self._study(study_id) / "upload").iterdir())

    def claim(self, study_id: str) -> Claim:
        """The right to work on a study, which one process has at a time."""
        return Claim(self._study(study_id) / ".work")

    def claim_pool(self, basis: Basis) -> Claim:
        """The right to take up the studies that wait for a pool, which one process has at a time."""
        return Claim(self._folder / ".pools" / basis.key)

    def scratch(self, study_id: str) -> Path:
        """A new, empty folder for whoever works on a study; what an earlier attempt left in it is gone."""
        folder = self._study(study_id) / ".scratch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        return folder

    def results_dir(self, study_id: str) -> Path:
        """Where the results of a study belong; a half-written neighbour of it is removed."""
        folder = self._study(study_id)
        for leftover in folder.glob(".results*"):
            shutil.rmtree(leftover, ignore_errors=True)
        return folder / "results"

    def result_file(self, study_id: str, name: str) -> Path:
        """One result of a study that is done.

        Raises:
            UnknownStudyError: no such study.
            ResultNotReadyError: not done, or this input has no such result.
        """
        record = self.get(study_id)
        if record.state is not StudyState.DONE:
            remedy = "Ask again when the study is done." if not record.state.is_final else ""
            raise ResultNotReadyError(f"study {study_id}", "must be done before it has results", record.state, remedy)
        if name not in RESULT_NAMES or name not in record.results:
            raise ResultNotReadyError(
                f"study {study_id}", f"has the results {', '.join(record.results)}", f"not {name}"
            )
        return self._study(study_id) / "results" / name

    def start(self, study_id: str, basis: Basis) -> StudyRecord:
        """received (or running, after a restart) -> running, on this basis from now on."""
        with self._changing(study_id) as (folder, record):
            if record.state.is_final:
                return record
            if record.basis != basis:
                self.known.enter(basis.with_content(record.content_sha256), study_id)
            record = replace(
                record,
                state=StudyState.RUNNING,
                n_attempts=record.n_attempts + 1,
                n_sweeps_done=0,
                pool_sha256=basis.pool_sha256,
                settings_sha256=basis.settings_sha256,
            )
            self.note_progress(study_id, 0)
            write_record(folder, record)
            journal.begin_line(folder)
            journal.append(folder, "started", attempt=record.n_attempts, pool_sha256=basis.pool_sha256)
            return record

    def note_progress(self, study_id: str, n_sweeps_done: int) -> None:
        """Say how far a running study is: atomic, but not synced, because a restart begins again anyway."""
        with suppress(UnknownStudyError, OSError):  # removed meanwhile: its task is about to learn so
            replace_file(self._study(study_id) / "progress.json", str(n_sweeps_done).encode(), sync=False)

    def note_answer(self, study_id: str, slice_name: str, member_id: str, outcome: Mapping[str, Any]) -> None:
        """Write down that a member answered about a slice, and with what."""
        with suppress(UnknownStudyError):
            journal.append(self._study(study_id), "answer", slice=slice_name, member=member_id, **outcome)

    def finish(self, study_id: str, n_absent: int = 0) -> StudyRecord:
        """running -> done; the results must lie in `results_dir`. A study that was cancelled stays cancelled."""
        with self._changing(study_id) as (folder, record):
            if record.state.is_final:
                return record
            results = sorted((folder / "results").iterdir())
            for path in (*results, folder / "results", folder):
                sync_to_disk(path)
            names = tuple(path.name for path in results)
            record = replace(
                record, state=StudyState.DONE, n_sweeps_done=record.n_sweeps, results=names, n_absent=n_absent
            )
            write_record(folder, record)
            journal.append(folder, "done", results=names)
            return record

    def fail(self, study_id: str, reason: str) -> StudyRecord:
        """-> failed, with the reason in words. A study that was cancelled stays cancelled."""
        return self._end(study_id, StudyState.FAILED, reason)

    def cancel(self, study_id: str) -> StudyRecord:
        """-> cancelled; a study that has ended already stays as it is."""
        return self._end(study_id, StudyState.CANCELLED, "")

    def remove(self, study_id: str) -> None:
        """Forget a study with its upload and results."""
        folder = self._study(study_id)
        record = read_record(folder)
        gone = self._incoming / f"{study_id}-removed"
        folder.rename(gone)  # at once, so that no half of it is ever visible
        self.known.forget(record.basis.with_content(record.content_sha256), study_id)
        shutil.rmtree(gone, ignore_errors=True)

    def _end(self, study_id: str, state: StudyState, reason: str) -> StudyRecord:
        with self._changing(study_id) as (folder, record):
            if not record.state.is_final:
                done = self.get(study_id).n_sweeps_done
                record = replace(record, state=state, reason=reason, n_sweeps_done=done)
                write_record(folder, record)
                journal.append(folder, str(state), reason=reason)
            return record

    def _study(self, study_id: str) -> Path:
        folder = self._folder / study_id if _ID.fullmatch(study_id) else None
        if folder is None or not folder.is_dir():
            raise UnknownStudyError("study", "must be one that this service accepted", "no study of this id")
        return folder

    @contextmanager
    def _changing(self, study_id: str) -> Iterator[tuple[Path, StudyRecord]]:
        """A study's folder and record, with every other process kept from changing it."""
        folder = self._study(study_id)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder / ".lock"))
            except FileNotFoundError:
                self._study(study_id)  # removed meanwhile: says so in words
                raise
            yield folder, read_record(folder)
