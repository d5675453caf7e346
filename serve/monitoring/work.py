"""Measurements of the process that takes studies from received to done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pool.analysis import StudyAnalysis
from pool.asl.analysis import AslAnalysis
from serve.store.records import StudyRecord

STAGES = ("queue", "read", "sweep", "write", "total")
"""Waiting for its turn; reading and preparing; all members on all slices, and the choice; results on disk; from
acceptance to the end."""
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)
_U_PP = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
_DICE = (0.5, 0.6, 0.7, 0.75, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.92, 0.95)


class WorkMetrics:
    """Of one selector; counts from its start."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self._stages = Histogram(
            "pool_stage_seconds",
            f"Time of a study in each stage: {', '.join(STAGES)} [s].",
            ["stage"],
            buckets=_SECONDS,
            registry=own,
        )
        self._u_pp = Histogram("pool_u_pp", "U_pp of the believed member, slice by slice.", buckets=_U_PP, registry=own)
        self._expected_dice = Histogram(
            "pool_expected_dice",
            "Expected Dice of the believed member, ASL image by ASL image.",
            buckets=_DICE,
            registry=own,
        )
        self._chosen = Counter(
            "pool_chosen", "Slices and ASL images on which a member was believed.", ["member"], registry=own
        )
        self._no_answer = Counter(
            "pool_slices_without_outline", "Slices and ASL images on which no member could be believed.", registry=own
        )
        self._ended = Counter("pool_studies_ended", "Studies that ended.", ["state"], registry=own)
        self._absent = Counter("pool_absent_sweeps", "Sweeps that gave no answer.", ["member"], registry=own)
        self._in_work = Gauge("pool_studies_in_work", "Studies that are worked on now.", registry=own)
        self._shards = Counter(
            "pool_shard_failures",
            "Times that a shard failed or died under a question.",
            ["shard"],
            registry=own,
        )

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, unless it fails."""
        started_s = time.monotonic()
        yield
        self._stages.labels(name).observe(time.monotonic() - started_s)

    def note_start(self, record: StudyRecord) -> None:
        """A study's turn has come."""
        self._stages.labels("queue").observe(_age_s(record))

    def note_answer(self, member_id: str, failed: bool) -> None:
        """A member answered, or did not."""
        if failed:
            self._absent.labels(member_id).inc()

    def note_result(self, analysis: StudyAnalysis | AslAnalysis) -> None:
        """What was chosen."""
        if isinstance(analysis, AslAnalysis):
            self._note_asl(analysis)
            return
        for item in analysis.slices:
            chosen = item.selection.chosen
            if chosen is None:
                self._no_answer.inc()
                continue
            self._chosen.labels(chosen).inc()
            if (u_pp := item.selection.score_of(chosen).u_pp) is not None:
                self._u_pp.observe(u_pp)

    def _note_asl(self, analysis: AslAnalysis) -> None:
        chosen = analysis.selection.chosen
        if chosen is None:
            self._no_answer.inc()
            return
        self._chosen.labels(chosen).inc()
        if (expected := analysis.selection.score_of(chosen).expected_dice) is not None:
            self._expected_dice.observe(expected)

    def note_end(self, record: StudyRecord) -> None:
        """A study ended."""
        self._ended.labels(record.state.value).inc()
        self._stages.labels("total").observe(_age_s(record))

    def note_shard_failure(self, shard: int) -> None:
        """A shard failed or died."""
        self._shards.labels(str(shard)).inc()

    def note_in_work(self, n_studies: int) -> None:
        """How many studies are in work."""
        self._in_work.set(n_studies)

    def text(self) -> str:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry).decode()


def _age_s(record: StudyRecord) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(record.created_at)).total_seconds())
