"""Take accepted studies from received to done, failed or cancelled; after any restart, take them up again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from pool.analysis import StudyAnalysis
from pool.errors import PoolError
from pool.inputs import StudyInput, open_study
from pool.preprocess import PreparedSlice, PreprocessSettings, prepare
from pool.results import check_study_output, write_results
from pool.series import PerfusionSeries
from serve.store.records import StudyRecord
from serve.store.studies import StudyStore

_log = logging.getLogger(__name__)

MOST_ATTEMPTS = 10
"""A study whose work was begun so often without an end is what ends it: it would take the service down for ever."""
RESCAN_S = 5.0
"""The store is looked through this often even if nobody says that a study came [s]."""


class Analyst(Protocol):
    """Turns a prepared study into its result; the selector, or a stand-in."""

    async def analyse(
        self,
        series: PerfusionSeries,
        prepared: Sequence[PreparedSlice],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> StudyAnalysis:
        """See `serve.shards.selector.Selector.analyse`."""
        ...


def read_study(files: Sequence[Path], settings: PreprocessSettings) -> tuple[StudyInput, tuple[PreparedSlice, ...]]:
    """Read and prepare the files of an upload: the same for its first check and for the work on it.

    Raises:
        StudyError: the study cannot be analysed.
    """
    study = open_study(files[0] if len(files) == 1 else files)
    check_study_output(study.dicom)
    return study, prepare(study.series, settings)


class StudyRunner:
    """Works through the unfinished studies of a store, the oldest first.

    Args:
        store: holds the studies.
        analyst: gives the results.
        preprocess: how slices are prepared.
        studies_at_once: bound on the studies in work.
    """

    def __init__(
        self, store: StudyStore, analyst: Analyst, preprocess: PreprocessSettings, studies_at_once: int
    ) -> None:
        self._store, self._analyst, self._preprocess = store, analyst, preprocess
        self._studies_at_once = studies_at_once
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wakened = asyncio.Event()

    def wake(self) -> None:
        """Look for new studies now."""
        self._wakened.set()

    def stop(self, study_id: str) -> None:
        """Stop the work on a study, down to its sweeps; its state is the caller's business."""
        if task := self._tasks.get(study_id):
            task.cancel()

    async def run_forever(self) -> None:
        """Take up unfinished studies as there is room; ends only by being cancelled."""
        try:
            while True:
                self._wakened.clear()
                for record in await asyncio.to_thread(self._store.unfinished):
                    if len(self._tasks) < self._studies_at_once and record.id not in self._tasks:
                        task = asyncio.create_task(self.run(record))
                        self._tasks[record.id] = task
                        task.add_done_callback(partial(self._forget, record.id))
                try:
                    async with asyncio.timeout(RESCAN_S):
                        await self._wakened.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def run(self, record: StudyRecord) -> None:
        """Work on one study to its end. Every outcome but a cancellation is written into the store."""
        study_id = record.id
        try:
            if record.n_attempts >= MOST_ATTEMPTS:
                await self._fail(study_id, f"was begun {record.n_attempts} times and never came to an end")
            elif not (await asyncio.to_thread(self._store.start, study_id)).state.is_final:
                await self._analyse(study_id)
                ended = await asyncio.to_thread(self._store.finish, study_id)
                _log.info("study %s: %s", study_id, ended.state)
        except PoolError as error:
            await self._fail(study_id, str(error))
        except Exception as error:
            _log.exception("study %s failed", study_id)
            await self._fail(study_id, f"an internal error ({type(error).__name__}) that the service's log describes")

    async def _analyse(self, study_id: str) -> None:
        files = self._store.upload_files(study_id)
        study, prepared = await asyncio.to_thread(read_study, files, self._preprocess)

        def on_progress(n_done: int, _n_sweeps: int) -> None:
            self._store.note_progress(study_id, n_done)

        analysis = await self._analyst.analyse(study.series, prepared, on_progress)
        await asyncio.to_thread(write_results, analysis, self._store.results_dir(study_id), study.dicom)

    async def _fail(self, study_id: str, reason: str) -> None:
        try:
            await asyncio.to_thread(self._store.fail, study_id, reason)
        except PoolError:
            _log.info("study %s was removed while it was worked on", study_id)

    def _forget(self, study_id: str, _task: asyncio.Task[None]) -> None:
        del self._tasks[study_id]
        self.wake()
