"""Take accepted studies from received to done, failed or cancelled; after any restart, take them up again."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from functools import partial

from pool.errors import PoolError
from pool.preprocess import PreprocessSettings
from serve.analyst import Analyst, analysed
from serve.durable import lacks_room
from serve.monitoring.work import WorkMetrics
from serve.reading import Reader
from serve.silence import in_short
from serve.store.basis import Basis
from serve.store.records import StudyRecord, StudyState
from serve.store.studies import StudyStore
from serve.watcher import StudyWatcher

_log = logging.getLogger(__name__)

MOST_ATTEMPTS = 10
"""A study whose work was begun so often without an end is what ends it: it would take the service down for ever."""
RESCAN_S = 5.0
"""The store is looked through this often even if nobody says that a study came [s]."""
ORPHANED_S = 30.0
"""Studies of a pool that nobody has worked with for so long are taken up with the present one [s]: time enough for
a runner that died to come back."""
NO_ROOM_PAUSE_S = 60.0
"""Pause before a study that found the disk full is tried again [s]."""


class StudyRunner:
    """Works through the unfinished studies of a store, the oldest first.

    Args:
        store: holds the studies.
        analyst: gives the results.
        reader: opens the uploads.
        preprocess: how slices are prepared.
        basis: pool and settings of the analyst; studies that wait for others are left to others, while there are any.
        studies_at_once: bound on the studies in work.
        metrics: what is measured.
    """

    def __init__(
        self,
        store: StudyStore,
        analyst: Analyst,
        reader: Reader,
        preprocess: PreprocessSettings,
        basis: Basis,
        studies_at_once: int,
        metrics: WorkMetrics | None = None,
    ) -> None:
        self.metrics = metrics or WorkMetrics()
        self._store, self._analyst, self._reader = store, analyst, reader
        self._preprocess, self._basis, self._studies_at_once = preprocess, basis, studies_at_once
        self._tasks: dict[str, asyncio.Task[bool]] = {}
        self._wakened = asyncio.Event()
        self._pool = store.claim_pool(basis)
        self._orphaned_since_s: dict[str, float] = {}

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
                await self._take_up()
                self.metrics.note_in_work(len(self._tasks))
                try:
                    async with asyncio.timeout(RESCAN_S):
                        await self._wakened.wait()
                except TimeoutError:
                    continue
        finally:
            for task in self._tasks.values():
                task.cancel()
            self._pool.let_go()

    async def _take_up(self) -> None:
        """Begin as many studies as there is room for."""
        if not self._pool.take():  # another runner works with this pool; it will end, or die
            return
        unfinished = await asyncio.to_thread(self._store.unfinished)
        for study_id in self._tasks.keys() - {record.id for record in unfinished}:
            if await asyncio.to_thread(self._is_unwanted, study_id):  # and nobody said so
                self.stop(study_id)
        for record in unfinished:
            if len(self._tasks) >= self._studies_at_once:
                return
            if record.id not in self._tasks and self._is_ours(record):
                task = asyncio.create_task(self.run(record))
                self._tasks[record.id] = task
                task.add_done_callback(partial(self._forget, record.id))

    def _is_unwanted(self, study_id: str) -> bool:
        """Whether a study was cancelled or removed."""
        try:
            return self._store.get(study_id).state is StudyState.CANCELLED
        except PoolError:
            return True

    def _is_ours(self, record: StudyRecord) -> bool:
        """Whether a study waits for this pool, or for one that nobody has worked with for a while."""
        if record.basis == self._basis or not record.pool_sha256:
            return True
        other = self._store.claim_pool(record.basis)
        if not other.take():
            self._orphaned_since_s.pop(record.basis.key, None)
            return False
        other.let_go()
        now_s = asyncio.get_running_loop().time()
        return now_s - self._orphaned_since_s.setdefault(record.basis.key, now_s) >= ORPHANED_S

    async def run(self, record: StudyRecord) -> bool:
        """Work on one study to its end; False where it could not be begun.

        Every outcome but a cancellation is written into the store. While the disk is full the study waits.
        """
        study_id = record.id
        try:
            claim = self._store.claim(study_id)
            if not claim.take():
                _log.info("study %s: somebody else works on it", study_id)
                return False
        except (PoolError, OSError) as error:
            _log.info("study %s could not be begun: %s", study_id, in_short(error))
            return False
        try:
            if record.n_attempts >= MOST_ATTEMPTS:
                await self._fail(study_id, f"was begun {record.n_attempts} times and never came to an end")
                return True
            begin = partial(self._store.start, study_id, self._basis)
            while not await self._came_to_an_end(record, begin):
                await asyncio.sleep(NO_ROOM_PAUSE_S)
                begin = partial(self._store.get, study_id)  # a full disk is no attempt
        finally:
            claim.let_go()
        return True

    async def _came_to_an_end(self, record: StudyRecord, begin: Callable[[], StudyRecord]) -> bool:
        """Work on a study once; False where the disk was full."""
        study_id = record.id
        try:
            if not (await asyncio.to_thread(begin)).state.is_final:
                self.metrics.note_start(record)
                n_absent = await self._analyse(study_id)
                ended = await asyncio.to_thread(self._store.finish, study_id, n_absent)
                self.metrics.note_end(ended)
                _log.info("study %s: %s", study_id, ended.state)
        except Exception as error:
            if lacks_room(error):
                _log.warning("study %s waits: the disk is full", study_id)
                return False
            if isinstance(error, PoolError):
                await self._fail(study_id, str(error))
            else:
                _log.error("study %s failed: %s", study_id, in_short(error))  # its text may hold anything
                reason = f"an internal error ({type(error).__name__}) that the service's log describes"
                await self._fail(study_id, reason)
        return True

    async def _analyse(self, study_id: str) -> int:
        """Do the work; returns how many sweeps gave no answer."""
        files, scratch = self._store.upload_files(study_id), self._store.scratch(study_id)
        try:
            with self.metrics.stage("read"):
                upload = await asyncio.to_thread(self._reader.read, files, self._preprocess, scratch)
            watcher = StudyWatcher(self._store, self.metrics, study_id)
            with self.metrics.stage("sweep"):
                ended = await analysed(upload, self._analyst, watcher)
            results_dir = self._store.results_dir(study_id)
            with self.metrics.stage("write"):
                await asyncio.to_thread(ended.write, results_dir)
            self.metrics.note_result(ended.analysis)
            return ended.analysis.n_absent
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    async def _fail(self, study_id: str, reason: str) -> None:
        try:
            self.metrics.note_end(await asyncio.to_thread(self._store.fail, study_id, reason))
        except PoolError:
            _log.info("study %s was removed while it was worked on", study_id)

    def _forget(self, study_id: str, task: asyncio.Task[bool]) -> None:
        del self._tasks[study_id]
        if task.cancelled() or task.exception() or task.result():  # else it would be tried again at once
            self.wake()
