"""Takes studies from their arrival to stored results, one step at a time; every step is safe to die in.

Whatever dies, the next start goes on from the records on disk. A run is sent to the service again if nobody knows
whether it arrived: the service knows the bytes and answers with the study it has. Results are stored again if nobody
knows whether the PACS took them: their UIDs depend on images, pool and settings alone, so the PACS has them once.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from pool.errors import PoolError, StudyError
from pool.guarded import study_content_guarded
from pool.output import RESULT_NAMES
from pool.run_choice import Role
from serve.durable import replace_file
from serve.errors import ServiceRefusedError, StudyFailedError
from serve.pacs.deidentify import Pseudonyms, deidentify_file, reidentify_file
from serve.pacs.dicomweb import DicomWeb
from serve.pacs.inbox import Inbox
from serve.pacs.poller import Poller
from serve.pacs.runs import RunRecord, RunState, read_run, run_folders, run_id, write_run
from serve.pacs.settings import PacsSettings

IDLE_S = 1.0
"""Longest pause between two looks at what is to be done [s]."""
DAY_S = 86_400.0
FINAL_STATUSES = (400, 413, 415, 422)
"""Answers of the service that speak of the study itself: the same study will get the same answer."""
_log = logging.getLogger(__name__)


class Analyst(Protocol):
    """Has a run analysed."""

    def analyse(self, images: Path, out_dir: Path) -> None:
        """Put the results of a folder of images into `out_dir`, whole or not at all.

        Raises:
            ServiceUnreachableError, OSError: may be tried again.
            ServiceRefusedError, StudyFailedError: the run cannot be analysed.
        """


@dataclass
class Gateway:
    """The gateway; `run_forever` in one thread, receivers in others."""

    settings: PacsSettings
    inbox: Inbox
    analyst: Analyst
    open_pacs: Callable[[], AbstractContextManager[DicomWeb]]
    """Connects to the PACS."""
    send: Callable[[Sequence[Path]], None]
    """Stores files in the PACS."""
    clock: Callable[[], float] = time.time
    stopped: threading.Event = field(default_factory=threading.Event)
    wakened: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._poller = Poller(self.settings, self.inbox, self.clock)
        self._next_poll_at = 0.0
        self._n_poll_failures = 0

    def run_forever(self) -> None:
        """Work until `stopped` is set."""
        while not self.stopped.is_set():
            self.wakened.clear()
            self.step()
            self.wakened.wait(IDLE_S)

    def step(self) -> None:
        """Do once whatever is due: ask the PACS, look for runs in complete studies, take each run one step on."""
        self._poll_if_due()
        for job in self.inbox.jobs():
            if self.stopped.is_set():
                return
            self._examine_if_complete(job)
            for folder in run_folders(self.inbox.runs(job)):
                self._advance(job, folder)
            self._forget_if_old(job)

    def counts(self) -> dict[str, int]:
        """Runs by state."""
        found = {state.value: 0 for state in RunState}
        for job in self.inbox.jobs():
            for folder in run_folders(self.inbox.runs(job)):
                found[read_run(folder).state] += 1
        return found

    def _poll_if_due(self) -> None:
        if not self.settings.poll_s or self.clock() < self._next_poll_at:
            return
        try:
            with self.open_pacs() as pacs:
                self._poller.poll(pacs)
            self._n_poll_failures, pause_s = 0, self.settings.poll_s
        except (PoolError, OSError) as error:
            _log.warning("asking the PACS failed: %s", _in_words(error))
            doubled = self.settings.retry_first_s * 2.0 ** min(self._n_poll_failures, 30)
            pause_s = max(min(doubled, self.settings.retry_longest_s), self.settings.poll_s)
            self._n_poll_failures += 1
        self._next_poll_at = self.clock() + pause_s

    def _examine_if_complete(self, job: str) -> None:
        """Look for runs in the images of a study that has not changed for `quiet_s`, once for every change."""
        entry = self.inbox.entry(job)
        if (
            entry.fetching
            or entry.examined_at == entry.changed_at
            or self.clock() - entry.changed_at < self.settings.quiet_s
        ):
            return
        reason = ""
        try:
            content = study_content_guarded(self.inbox.images(job))
            for role, files in zip(content.roles, content.files, strict=True):
                names = tuple(sorted(Path(file).name for file in files))
                folder = self.inbox.runs(job) / run_id(names)
                if not (folder / "run.json").is_file():
                    write_run(folder, RunRecord(names, role))
                    _log.info("study %s: run %s found, %s, %d files", job[:8], folder.name[:8], role, len(names))
        except StudyError as error:
            reason = str(error)
            _log.info("study %s: nothing to analyse (%s)", job[:8], type(error).__name__)
        with self.inbox.changing():
            # what came meanwhile has another changed_at, and is looked at again
            self.inbox.update(job, replace(self.inbox.entry(job), examined_at=entry.changed_at, reason=reason))

    def _advance(self, job: str, folder: Path) -> None:
        record = read_run(folder)
        if record.state.is_final or self.clock() < record.next_try_at:
            return
        name = f"run {folder.name[:8]} of study {job[:8]}"
        try:
            if record.state is RunState.FOUND:
                self._analyse(job, folder, record)
                record = record.moved_on(RunState.ANALYSED)
            else:
                self._store(job, folder, record)
                record = record.moved_on(RunState.STORED)
            _log.info("%s: %s", name, record.state)
        except (ServiceRefusedError, StudyFailedError, StudyError) as error:
            if record.state is RunState.FOUND and not _may_pass(error):
                record = record.moved_on(RunState.REFUSED, _in_words(error))
                _log.warning("%s: refused (%s)", name, type(error).__name__)
            else:  # what is analysed is not lost because a PACS does not take it today
                record = self._later(record, error, name)
        except (PoolError, OSError) as error:
            record = self._later(record, error, name)
        write_run(folder, record)

    def _later(self, record: RunRecord, error: Exception, name: str) -> RunRecord:
        settings = self.settings
        record = record.failed(_in_words(error), self.clock(), settings.retry_first_s, settings.retry_longest_s)
        pause_s = record.next_try_at - self.clock()
        _log.warning("%s: %s, tried again in %.0f s", name, type(error).__name__, pause_s)
        return record

    def _analyse(self, job: str, folder: Path, record: RunRecord) -> None:
        results = folder / "results"
        if (results / "result.json").is_file():  # fetched before a crash
            return
        upload = folder / "upload"
        shutil.rmtree(upload, ignore_errors=True)
        upload.mkdir()
        back: dict[str, str] = {}
        pseudonyms = Pseudonyms(self.settings.state_dir) if self.settings.deidentify else None
        for number, name in enumerate(record.images):
            source, target = self.inbox.images(job) / name, upload / f"{number:06d}.dcm"
            if pseudonyms is None:
                os.link(source, target)
            else:
                back |= deidentify_file(source, target, pseudonyms, Role(record.role))
        if pseudonyms is not None:
            replace_file(folder / "uids.json", json.dumps(back).encode(), sync=True)
        try:
            self.analyst.analyse(upload, results)
        finally:
            shutil.rmtree(upload, ignore_errors=True)

    def _store(self, job: str, folder: Path, record: RunRecord) -> None:
        if self.settings.store_by == "nothing":
            return
        ready = folder / "outgoing"
        shutil.rmtree(ready, ignore_errors=True)
        ready.mkdir()
        files = []
        for name in RESULT_NAMES:
            if name.endswith(".dcm") and (folder / "results" / name).is_file():
                files.append(Path(shutil.copy(folder / "results" / name, ready / name)))
        if (folder / "uids.json").is_file():
            back = json.loads((folder / "uids.json").read_text())
            source = self.inbox.images(job) / record.images[0]
            for path in files:
                reidentify_file(path, source, back)
        if files:
            self.send(files)
        shutil.rmtree(ready, ignore_errors=True)

    def _forget_if_old(self, job: str) -> None:
        entry = self.inbox.entry(job)
        old = self.clock() - entry.changed_at > self.settings.keep_days * DAY_S
        if not old or entry.examined_at != entry.changed_at or not self.inbox.images(job).is_dir():
            return
        if all(read_run(folder).state.is_final for folder in run_folders(self.inbox.runs(job))):
            self.inbox.forget_images(job)
            for folder in run_folders(self.inbox.runs(job)):
                shutil.rmtree(folder / "results", ignore_errors=True)
                (folder / "uids.json").unlink(missing_ok=True)


def _may_pass(error: Exception) -> bool:
    """Whether the service refused for a reason of its own: full, restarting, a token that is not its."""
    return isinstance(error, ServiceRefusedError) and error.status not in FINAL_STATUSES


def _in_words(error: Exception) -> str:
    """An error of ours in its words, which name nobody; of others the kind alone."""
    return str(error) if isinstance(error, PoolError) else type(error).__name__
