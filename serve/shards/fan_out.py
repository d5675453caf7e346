"""Ask all shards at once under one deadline; what does not come is a failure with its reason.

A shard that fails is asked again about the members that have not answered: it may have been replaced meanwhile. Limits
are on attempts in a row without any answer, so that whatever kills a shard each time ends soon, and whatever kills
shards now and then, for as long as it likes, does not cost an answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Hashable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

from pool.answers import MemberAnswer, MemberFailure
from pool.moments import Moments
from pool.shapes import SliceFrames
from pool.sweep import SweepSettings
from pool.trials.settings import TrialSettings
from pool.trials.sums import TrialSums
from serve.shards.trial_parts import TrialPart
from serve.silence import in_short

_log = logging.getLogger(__name__)

MOST_FAILURES, MOST_DEATHS = 2, 6
"""Attempts in a row without an answer: of a shard that is there and fails, of one that dies or cannot be reached."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0
"""Pause before a shard that died is asked again [s]; doubles each time."""


class ShardFailedError(Exception):
    """A shard as a whole gave no (further) answers; the text is the reason, fit for a result."""


class ShardGoneError(ShardFailedError):
    """It died or cannot be reached: another will take its place."""


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
            ShardFailedError: it fails as a whole.
            ShardGoneError: it died, is full, ...
        """
        ...

    def refine(
        self, reference: Any, settings: SweepSettings, n_patches: int, starts: Mapping[str, Moments | None]
    ) -> AsyncGenerator[tuple[str, Moments | MemberFailure], None]:
        """Moments of the given members over one round of a race, as they come.

        The shard keeps nothing between calls: what a member has summed so far comes with the question, so that a shard
        that was replaced goes on where its predecessor was.

        Args:
            reference: what `put` returned for the slice.
            settings: of the sweep.
            n_patches: how many of the first patches are wanted.
            starts: whom to ask, and what each goes on from; None for the first round.

        Raises:
            ShardFailedError: it fails as a whole.
            ShardGoneError: it died, is full, ...
        """
        ...

    def sample(
        self, image: SliceFrames, settings: TrialSettings, parts: Sequence[TrialPart]
    ) -> AsyncGenerator[tuple[TrialPart, TrialSums | MemberFailure], None]:
        """Sums over some blocks of trials about an ASL image, as they come.

        Args:
            image: standardised, float32 `1 row col`; small enough to come with the question.
            settings: of the trials of every member.
            parts: what is asked for.

        Raises:
            ShardFailedError: it fails as a whole.
            ShardGoneError: it died, is full, ...
        """
        ...

    async def loaded(self) -> tuple[str, ...]:
        """Ids of the members it has loaded and verified."""
        ...


Stream = AsyncGenerator[tuple[Any, Any], None]
Wanted = TypeVar("Wanted", bound=Hashable)
"""What a shard is asked for and answers by: a member's id, or a part of its trials."""


async def ask_shards(
    shards: Sequence[Shard],
    wanted: Sequence[Sequence[Wanted]],
    open_stream: Callable[[Shard, tuple[Wanted, ...]], Stream],
    note: Callable[[Wanted, Any], None],
    deadline_s: float,
    on_failure: Callable[[int], None] = lambda _: None,
) -> None:
    """Note an answer or a failure for all that is wanted; never raises but when cancelled.

    Args:
        shards: all of them.
        wanted: ids of the members to ask, or parts of their trials, by shard.
        open_stream: asks a shard for some of them.
        note: takes each answer, once.
        deadline_s: longest wait [s].
        on_failure: called with the number of a shard whenever it fails or dies.
    """
    deadline = asyncio.get_running_loop().time() + deadline_s
    async with asyncio.TaskGroup() as asked:
        for k, own in enumerate(wanted):
            if own:
                work = _ask_shard(k, shards[k], own, open_stream, note, deadline, deadline_s, on_failure)
                asked.create_task(work)


async def _ask_shard(
    k: int,
    shard: Shard,
    wanted: Sequence[Wanted],
    open_stream: Callable[[Shard, tuple[Wanted, ...]], Stream],
    note: Callable[[Wanted, Any], None],
    deadline: float,
    deadline_s: float,
    on_failure: Callable[[int], None],
) -> None:
    missing = list(wanted)

    def note_once(item: Wanted, answer: Any) -> None:
        if item not in missing:
            raise ShardFailedError("the shard answered for a member it was not asked about")
        missing.remove(item)
        note(item, answer)

    reason = ""
    n_failures = n_deaths = 0
    try:
        async with asyncio.timeout_at(deadline):
            while n_failures < MOST_FAILURES and n_deaths < MOST_DEATHS:
                n_missing = len(missing)
                reason, is_gone = await _listen(k, open_stream(shard, tuple(missing)), note_once)
                if not missing:
                    return
                _log.warning("shard %d: %s; %d answers missing", k, reason, len(missing))
                on_failure(k)
                if len(missing) < n_missing:
                    n_failures = n_deaths = 0
                if is_gone:
                    await asyncio.sleep(min(FIRST_PAUSE_S * 2**n_deaths, LONGEST_PAUSE_S))
                n_deaths, n_failures = n_deaths + is_gone, n_failures + (not is_gone)
    except TimeoutError:
        reason = f"no answer within {deadline_s:g} s" + (f": {reason}" if reason else "")
    for item in tuple(missing):
        note_once(item, MemberFailure(reason))


async def _listen(k: int, stream: Stream, note: Callable[[Any, Any], None]) -> tuple[str, bool]:
    """Note what shard k answers; returns why it stopped, the reason of those missing then, and whether it is gone."""
    try:
        async with aclosing(stream) as answers:
            async for item, answer in answers:
                note(item, answer)
    except ShardFailedError as error:
        return str(error), isinstance(error, ShardGoneError)
    except Exception as error:
        _log.error("shard %d failed: %s", k, in_short(error))
        return f"the shard raised {type(error).__name__}", False
    return "the shard ended without an answer", False
