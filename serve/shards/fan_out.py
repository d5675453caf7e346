"""Ask all shards at once, one retry each under a deadline; what does not come is a failure with its reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from pool.answers import MemberAnswer, MemberFailure
from pool.moments import Moments
from pool.sweep import SweepSettings

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
            ShardFailedError: it died, is full, ...
        """
        ...

    async def loaded(self) -> tuple[str, ...]:
        """Ids of the members it has loaded and verified."""
        ...


Stream = AsyncGenerator[tuple[str, Any], None]


async def ask_shards(
    shards: Sequence[Shard],
    wanted: Sequence[Sequence[str]],
    open_stream: Callable[[Shard, tuple[str, ...]], Stream],
    note: Callable[[str, Any], None],
    deadline_s: float,
) -> None:
    """Note an answer or a failure for every member; never raises but when cancelled.

    Args:
        shards: all of them.
        wanted: ids of the members to ask, by shard.
        open_stream: asks a shard about some members.
        note: takes each member's answer, once.
        deadline_s: longest wait [s].
    """
    deadline = asyncio.get_running_loop().time() + deadline_s
    async with asyncio.TaskGroup() as asked:
        for k, member_ids in enumerate(wanted):
            if member_ids:
                asked.create_task(_ask_shard(k, shards[k], member_ids, open_stream, note, deadline, deadline_s))


async def _ask_shard(
    k: int,
    shard: Shard,
    member_ids: Sequence[str],
    open_stream: Callable[[Shard, tuple[str, ...]], Stream],
    note: Callable[[str, Any], None],
    deadline: float,
    deadline_s: float,
) -> None:
    missing = list(member_ids)

    def note_once(member_id: str, answer: Any) -> None:
        if member_id not in missing:
            raise ShardFailedError("the shard answered for a member it was not asked about")
        missing.remove(member_id)
        note(member_id, answer)

    reason = ""
    try:
        async with asyncio.timeout_at(deadline):
            for _ in range(N_ATTEMPTS):
                reason = await _listen(k, open_stream(shard, tuple(missing)), note_once)
                if not missing:
                    return
                _log.warning("shard %d: %s; %d members missing", k, reason, len(missing))
    except TimeoutError:
        reason = f"no answer within {deadline_s:g} s"
    for member_id in tuple(missing):
        note_once(member_id, MemberFailure(reason))


async def _listen(k: int, stream: Stream, note: Callable[[str, Any], None]) -> str:
    """Note what shard k answers; returns why it stopped, as the reason of those that are missing then."""
    try:
        async with aclosing(stream) as answers:
            async for member_id, answer in answers:
                note(member_id, answer)
    except ShardFailedError as error:
        return str(error)
    except Exception as error:
        _log.exception("shard %d failed", k)
        return f"the shard raised {type(error).__name__}"
    return "the shard ended without an answer"
