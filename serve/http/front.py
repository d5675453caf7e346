"""What the HTTP front does, without HTTP: accept, look up, cancel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import BinaryIO, Protocol

from pool.errors import EmptyStudyError, PoolError, UnreadableFileError
from pool.manifest import PoolManifest
from serve.runner import read_study
from serve.settings import ServiceSettings
from serve.store.records import StudyRecord
from serve.store.studies import StudyStore

_log = logging.getLogger(__name__)

UPLOADS_READ_AT_ONCE = 2
"""Uploads that are parsed at once; a study takes some 100 MB while it is read."""
SAY_SO_DEADLINE_S = 2.0
"""Longest wait for the runner to hear of a change [s]; it looks for itself every few seconds."""


class Runner(Protocol):
    """Works on the studies of the store, somewhere else."""

    async def wake(self) -> None:
        """There is a new study."""
        ...

    async def stop(self, study_id: str) -> None:
        """A study is no longer wanted."""
        ...

    async def ready(self) -> list[str]:
        """What keeps the service from being ready."""
        ...


class Front:
    """The study store and the runner as one thing.

    Args:
        settings: of the service.
        manifest: of its pool.
        runner: works on what is accepted here.
    """

    def __init__(self, settings: ServiceSettings, manifest: PoolManifest, runner: Runner) -> None:
        self.settings, self.manifest, self._runner = settings, manifest, runner
        self.store = StudyStore(settings.studies_dir)
        self.store.discard_half_written()
        self._reading = asyncio.Semaphore(UPLOADS_READ_AT_ONCE)

    async def accept(self, files: Sequence[tuple[str, BinaryIO]]) -> StudyRecord:
        """Put an upload on disk, read and prepare it once to see that it can be analysed, and make a study of it.

        Args:
            files: the sender's name and the bytes of each.

        Raises:
            StudyError: it cannot be analysed; nothing of it is kept.
        """
        async with self._reading:
            record = await asyncio.to_thread(self._accept, files)
        _log.info("study %s: received", record.id)
        await self._say(self._runner.wake())
        return record

    def _accept(self, files: Sequence[tuple[str, BinaryIO]]) -> StudyRecord:
        with self.store.receive() as upload:
            if not sum(upload.add(source, sent_name) for sent_name, source in files):
                raise EmptyStudyError(
                    "upload",
                    "needs at least one file with content",
                    "none",
                    "Send the files in the form field 'files'.",
                )
            try:
                study, _ = read_study(upload.files, self.settings.analysis.preprocess)
            except PoolError:
                raise
            except Exception as error:
                _log.warning("an upload could not be read: %s", type(error).__name__)
                raise UnreadableFileError(
                    "upload",
                    "must be readable as a study",
                    f"{type(error).__name__} while reading it",
                    "Export it again.",
                ) from error
            return upload.commit(study.series.n_slices * self.manifest.n_members)

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
        await self._say(self._runner.stop(study_id))
        return record

    async def complaints(self) -> list[str]:
        """What keeps the service from being ready."""
        try:
            async with asyncio.timeout(self.settings.readiness_deadline_s + SAY_SO_DEADLINE_S):
                return await self._runner.ready()
        except Exception as error:
            _log.warning("the selector is not ready: %s", type(error).__name__)
            return ["the selector does not answer"]

    async def _say(self, message: Awaitable[None]) -> None:
        """Tell the runner; what it does not hear it finds in the store."""
        try:
            async with asyncio.timeout(SAY_SO_DEADLINE_S):
                await message
        except Exception as error:
            _log.warning("the runner did not hear of a change: %s", type(error).__name__)
