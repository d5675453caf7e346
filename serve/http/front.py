"""What the HTTP front does, without HTTP: accept, look up, cancel."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from pool.errors import EmptyStudyError, PoolError, UnreadableFileError
from serve.errors import StoreUnavailableError
from serve.generations import Generation
from serve.http.admission import Admission
from serve.http.tokens import TokenFile
from serve.monitoring.requests import RequestMetrics
from serve.reading import Reader
from serve.settings import ServiceSettings
from serve.silence import in_short
from serve.store.records import StudyRecord, StudyState
from serve.store.studies import StudyStore
from serve.store.uploads import Upload

_log = logging.getLogger(__name__)

SAY_SO_DEADLINE_S = 2.0
"""Longest wait for the runner to hear of a change [s]; it looks for itself every few seconds."""
FIRST_LOOK_S, SLOWEST_LOOK_S = 0.05, 0.5
"""Pause between two looks at a study that is waited for [s]; grows from the first to the slowest."""


@dataclass(frozen=True)
class Accepted:
    """What became of an upload."""

    record: StudyRecord
    is_new: bool
    """False where the same bytes were sent before, for the same pool and settings."""


class Front:
    """The study store and the runner as one thing.

    Args:
        settings: of the front.
        present: the pool that studies come in for, at the moment of the call.
        reader: opens uploads.
    """

    def __init__(self, settings: ServiceSettings, present: Callable[[], Generation], reader: Reader) -> None:
        self.settings, self.present, self._reader = settings, present, reader
        self.store = StudyStore(settings.studies_dir)
        self.store.discard_half_written()
        self.admission = Admission(settings.most_waiting, lambda: len(self.store.unfinished()))
        self.metrics = RequestMetrics()
        self.tokens = TokenFile(settings.token_file) if settings.token_file else None
        self._reading = asyncio.Semaphore(settings.uploads_read_at_once)

    async def accept(self, files: Sequence[tuple[str, BinaryIO]]) -> Accepted:
        """Put an upload on disk, read and prepare it once to see that it can be analysed, and make a study of it.

        The same bytes for the same pool and settings are the study that they were before, unless it failed, was
        cancelled or lacks members.

        Args:
            files: the sender's name and the bytes of each.

        Raises:
            StudyError: it cannot be analysed; nothing of it is kept.
            StoreUnavailableError: it cannot be kept.
        """
        try:
            async with self._reading:
                accepted = await asyncio.to_thread(self._accept, files)
        except PoolError as error:
            self.metrics.note_upload(type(error).__name__)
            raise
        self.metrics.note_upload("new" if accepted.is_new else "known")
        _log.info("study %s: %s", accepted.record.id, "received" if accepted.is_new else "sent again")
        if accepted.is_new:
            await self._say(self.present().runner.wake())
        return accepted

    def _accept(self, files: Sequence[tuple[str, BinaryIO]]) -> Accepted:
        try:
            with self.store.receive() as upload:
                if not sum(upload.add(source, sent_name) for sent_name, source in files):
                    raise EmptyStudyError(
                        "upload",
                        "needs at least one file with content",
                        "none",
                        "Send the files in the form field 'files'.",
                    )
                present = self.present()
                return self._known(upload, present) or self._new(upload, present)
        except OSError as error:
            _log.error("an upload could not be kept: %s", in_short(error))
            raise StoreUnavailableError(
                "study store", "must have room for the upload", error.strerror or type(error).__name__, "Try later."
            ) from error

    def _known(self, upload: Upload, present: Generation) -> Accepted | None:
        record = self.store.recognise(upload.content_sha256, present.basis)
        return Accepted(record, is_new=False) if record else None

    def _new(self, upload: Upload, present: Generation) -> Accepted:
        try:
            study = self._reader.read(upload.files, present.settings.analysis.preprocess, upload.scratch)
        except (PoolError, OSError):
            raise
        except Exception as error:  # numbers that nobody thought of: still the file's fault
            _log.warning("an upload could not be prepared: %s", in_short(error))
            rule, found = "must be readable as a study", f"{type(error).__name__} while preparing it"
            raise UnreadableFileError("upload", rule, found, "Export it again.") from error
        with self.store.known.changing():  # of the same bytes sent twice at once, one becomes a study
            if same := self._known(upload, present):
                return same
            return Accepted(upload.commit(study.n_sweeps(present.manifest), present.basis), is_new=True)

    async def ended(self, study_id: str, deadline_s: float) -> StudyRecord:
        """The record of a study once it has ended, or as it is after so long.

        Raises:
            UnknownStudyError: it was removed meanwhile.
        """
        loop = asyncio.get_running_loop()
        end_s, pause_s = loop.time() + deadline_s, FIRST_LOOK_S
        while True:
            record = await asyncio.to_thread(self.store.get, study_id)
            if record.state.is_final or loop.time() >= end_s:
                return record
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, SLOWEST_LOOK_S)

    async def end(self, study_id: str) -> StudyRecord | None:
        """Cancel an unfinished study, or remove one that has ended; None when it was removed.

        Raises:
            UnknownStudyError: no such study.
        """
        before = await asyncio.to_thread(self.store.get, study_id)
        if before.state.is_final:
            await asyncio.to_thread(self.store.remove, study_id)
            return None
        record = await asyncio.to_thread(self.store.cancel, study_id)
        await self._say(self.present().runner.stop(study_id))
        return record

    async def complaints(self) -> list[str]:
        """What keeps the service from being ready."""
        try:
            async with asyncio.timeout(self.settings.readiness_deadline_s + SAY_SO_DEADLINE_S):
                return await self.present().runner.ready()
        except Exception as error:
            _log.warning("the selector is not ready: %s", in_short(error))
            return ["the selector does not answer"]

    async def metrics_text(self) -> str:
        """What front and selector measure, in Prometheus' text format."""
        of_selector = None
        try:
            async with asyncio.timeout(SAY_SO_DEADLINE_S):
                of_selector = await self.present().runner.metrics()
        except Exception as error:
            _log.warning("the selector gave no measurements: %s", type(error).__name__)
        records = await asyncio.to_thread(self.store.records)
        found = Counter(record.state.value for record in records)
        n_studies = {state.value: found[state.value] for state in StudyState}
        return self.metrics.text(n_studies, self.admission.n_uploads, self.settings.most_waiting, of_selector)

    async def _say(self, message: Awaitable[None]) -> None:
        """Tell the runner; what it does not hear it finds in the store."""
        try:
            async with asyncio.timeout(SAY_SO_DEADLINE_S):
                await message
        except Exception as error:
            _log.warning("the runner did not hear of a change: %s", type(error).__name__)
