"""Writes down how the work on a study goes on, for those who watch it."""

from __future__ import annotations

from serve.shards.outcomes import Outcome
from serve.store.studies import StudyStore


class StudyWatcher:
    """Hears of every answer about one study.

    Args:
        store: holds the study.
        study_id: of the study.
    """

    def __init__(self, store: StudyStore, study_id: str) -> None:
        self._store, self._study_id, self._n_done = store, study_id, 0

    def on_progress(self, n_done: int, _n_sweeps: int) -> None:
        """Takes up how many sweeps are done."""
        if n_done != self._n_done:
            self._n_done = n_done
            self._store.note_progress(self._study_id, n_done)

    def on_answer(self, slice_name: str, member_id: str, outcome: Outcome) -> None:
        """Takes up what one member answered about one slice."""
        self._store.note_answer(self._study_id, slice_name, member_id, outcome)
