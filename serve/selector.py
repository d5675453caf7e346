"""Ask all shards about every slice, collect answers and failures as values, and conclude: fan-out and reduce."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from pool.analysis import AnalysisSettings, MemberAnswer, MemberFailure, StudyAnalysis, conclude
from pool.manifest import PoolManifest
from pool.preprocess import PreparedSlice
from pool.series import PerfusionSeries
from pool.sweep import MemberMaps, SweepSettings
from serve.errors import TooFewMembersError
from serve.members import members_of_shard

_log = logging.getLogger(__name__)

N_ATTEMPTS = 2
"""A shard that fails is asked once more, about the members that have not answered."""


class ShardFailedError(Exception):
    """A shard as a whole gave no (further) answers; the text is the reason, fit for a result."""


class Shard(Protocol):
    """Some members of the pool, wherever they are."""

    def ask(
        self, reference: Any, settings: SweepSettings, member_ids: Sequence[str]
    ) -> AsyncGenerator[tuple[str, MemberAnswer], None]:
        """Answers of the given members about a slice, as they come.

        Args:
            reference: what `put` returned for the slice.
            settings: of the sweep.
            member_ids: whom to ask.

        Raises:
            ShardFailedError: it died, is full, ...
        """
        ...

    async def loaded(self) -> tuple[str, ...]:
        """Ids of the members it has loaded and verified."""
        ...


@dataclass(frozen=True)
class SelectorLimits:
    """How long and how much at once."""

    slice_deadline_s: float
    """Longest wait for all answers about one slice [s], from the moment it is sent out."""
    readiness_deadline_s: float
    """Longest wait for a shard to say what it holds [s]."""
    slices_in_flight: int
    """Slices that the shards are asked about at once, over all studies."""
    least_members: int
    """Fewest members whose maps make a result."""


class Selector:
    """Fans slices out to shards and reduces their answers.

    Args:
        manifest: of the whole pool.
        shards: shard k holds members k, k + n_shards, ... of the manifest.
        settings: what decides the numbers.
        limits: deadlines and bounds.
        put: puts a slice where all shards can read it and returns the reference; called once a slice.
    """

    def __init__(
        self,
        manifest: PoolManifest,
        shards: Sequence[Shard],
        settings: AnalysisSettings,
        limits: SelectorLimits,
        put: Callable[[PreparedSlice], Any],
    ) -> None:
        self._manifest, self._shards, self._settings, self._limits, self._put = manifest, shards, settings, limits, put
        self._in_flight = asyncio.Semaphore(limits.slices_in_flight)

    async def ready(self) -> list[str]:
        """What keeps the service from being ready, in words; empty when every shard has loaded its members."""
        complaints = await asyncio.gather(*(self._complaint(k) for k in range(len(self._shards))))
        return [complaint for complaint in complaints if complaint]

    async def analyse(
        self,
        series: PerfusionSeries,
        prepared: Sequence[PreparedSlice],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> StudyAnalysis:
        """The result of a study: what `pool.analysis.analyse` gives, from many processes.

        Args:
            series: the study.
            prepared: its prepared slices.
            on_progress: called with (sweeps done, sweeps in total) after every answer; a failure counts as done.

        Raises:
            TooFewMembersError: a slice with answers of fewer than `least_members` members.
        """
        n_sweeps = len(prepared) * self._manifest.n_members
        answers: list[dict[str, MemberAnswer]] = [{} for _ in prepared]

        def count() -> None:
            if on_progress is not None:
                on_progress(sum(map(len, answers)), n_sweeps)

        async with asyncio.TaskGroup() as slices:
            for item, own in zip(prepared, answers, strict=True):
                slices.create_task(self._ask_all(item, own, count))
        for item, own in zip(prepared, answers, strict=True):
            self._refuse_too_few(item, own)
        return await asyncio.to_thread(conclude, series, prepared, answers, self._manifest, self._settings)

    async def _ask_all(
        self, prepared: PreparedSlice, answers: dict[str, MemberAnswer], count: Callable[[], None]
    ) -> None:
        async with self._in_flight:
            reference = await asyncio.to_thread(self._put, prepared)
            deadline = asyncio.get_running_loop().time() + self._limits.slice_deadline_s
            async with asyncio.TaskGroup() as shards:
                for k in range(len(self._shards)):
                    shards.create_task(self._ask_shard(k, reference, prepared, deadline, answers, count))

    async def _ask_shard(
        self,
        k: int,
        reference: Any,
        prepared: PreparedSlice,
        deadline: float,
        answers: dict[str, MemberAnswer],
        count: Callable[[], None],
    ) -> None:
        """Fill in an answer for every member of shard k; never raises but when cancelled."""
        missing = list(members_of_shard(self._manifest, k, len(self._shards)))

        def note(member_id: str, answer: MemberAnswer) -> None:
            if member_id not in missing:
                raise ShardFailedError("the shard answered for a member it was not asked about")
            missing.remove(member_id)
            answers[member_id] = _checked(answer, prepared)
            count()

        reason = ""
        try:
            async with asyncio.timeout_at(deadline):
                for _ in range(N_ATTEMPTS):
                    reason = await self._listen(k, reference, tuple(missing), note)
                    if not missing:
                        return
                    _log.warning("shard %d: %s; %d members missing", k, reason, len(missing))
        except TimeoutError:
            reason = f"no answer within {self._limits.slice_deadline_s:g} s"
        for member_id in tuple(missing):
            note(member_id, MemberFailure(reason))

    async def _listen(
        self, k: int, reference: Any, member_ids: tuple[str, ...], note: Callable[[str, MemberAnswer], None]
    ) -> str:
        """Note what shard k answers; returns why it stopped, as the reason of those that are missing then."""
        try:
            async with aclosing(self._shards[k].ask(reference, self._settings.sweep, member_ids)) as stream:
                async for member_id, answer in stream:
                    note(member_id, answer)
        except ShardFailedError as error:
            return str(error)
        except Exception as error:
            _log.exception("shard %d failed", k)
            return f"the shard raised {type(error).__name__}"
        return "the shard ended without an answer"

    def _refuse_too_few(self, prepared: PreparedSlice, answers: dict[str, MemberAnswer]) -> None:
        failures = {key: answer.reason for key, answer in sorted(answers.items()) if isinstance(answer, MemberFailure)}
        n_answers = len(answers) - len(failures)
        if n_answers < self._limits.least_members:
            member_id, reason = next(iter(failures.items()))
            raise TooFewMembersError(
                f"slice {prepared.name}",
                f"needs the answers of at least {self._limits.least_members} of {self._manifest.n_members} members",
                f"{n_answers}; member {member_id}: {reason}",
                "Send the study again, or lower least_members.",
            )

    async def _complaint(self, k: int) -> str:
        expected = members_of_shard(self._manifest, k, len(self._shards))
        try:
            async with asyncio.timeout(self._limits.readiness_deadline_s):
                found = await self._shards[k].loaded()
        except TimeoutError:
            return f"shard {k} does not answer"
        except Exception as error:
            _log.warning("shard %d is not ready: %s", k, type(error).__name__)
            return f"shard {k} is not there"
        return "" if found == expected else f"shard {k} holds other members than the manifest deals to it"


def _checked(answer: MemberAnswer, prepared: PreparedSlice) -> MemberAnswer:
    """The answer, or a failure where its maps do not fit the slice."""
    if isinstance(answer, MemberFailure):
        return answer
    if not isinstance(answer, MemberMaps):
        return MemberFailure(f"answered with {type(answer).__name__} instead of maps")
    image = prepared.frames.shape[1:]
    for name, shape in (
        ("mask", answer.mask.shape),
        ("uncertainty", answer.uncertainty.shape),
        ("probability", answer.probability.shape[1:]),
    ):
        if shape != image:
            return MemberFailure(f"answered with a {name} of shape {shape} for a slice of {image}")
    return answer
