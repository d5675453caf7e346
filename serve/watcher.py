"""Writes down how the work on a study goes on, for those who watch it."""

from __future__ import annotations

from serve.monitoring.work import WorkMetrics
from serve.shards.outcomes import Outcome
from serve.store.studies import StudyStore


class StudyWatcher:
    """Hears of every answer about one study.

    Args:
        store: holds the study.
        metrics: count failures.
        study_id: of the study.
    """

    def __init__(self, store: StudyStore, metrics: WorkMetrics, study_id: str) -> None:
        self._store, self._metrics, self._study_id, self._n_done = store, metrics, study_id, 0

    def on_progress(self, n_done: int, _n_sweeps: int) -> None:
        """Takes up how many sweeps are done."""
        if n_done != self._n_done:
            self._n_done = n_done
            self._store.note_progress(self._study_id, n_done)

    def on_answer(self, slice_name: str, member_id: str, outcome: Outcome) -> None:
        """Takes up what one member answered about one slice."""
        self._metrics.note_answer(member_id, "failure" in outcome)
        self._store.note_answer(self._study_id, slice_name, member_id, outcome)
