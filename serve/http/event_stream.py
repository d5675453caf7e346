"""Server-sent events: a study's journal as it grows, from any line on (HTML standard, 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

from serve.errors import UnknownStudyError
from serve.store.journal import Event
from serve.store.records import StudyState
from serve.store.studies import StudyStore

MOST_WATCHERS = 100
"""Streams at once; each holds one of the front's places for requests."""
LOOK_EVERY_S, SIGN_OF_LIFE_EVERY_S = 0.25, 15.0
"""Time between two looks at the journal, and between two signs of life on a silent stream [s]."""
_LAST = frozenset(state.value for state in StudyState if state.is_final)


async def event_stream(store: StudyStore, study_id: str, after: int) -> AsyncGenerator[str, None]:
    """Events of a study after that line of its journal, until it has ended or was removed.

    Args:
        store: holds the study.
        study_id: of the study.
        after: number of the last event that the client has; 0 for all.
    """
    loop = asyncio.get_running_loop()
    said_s = loop.time()
    yield "retry: 2000\n\n"
    try:
        while True:
            state = (await asyncio.to_thread(store.get, study_id)).state  # before the events: none is missed at the end
            for event in await asyncio.to_thread(store.events, study_id, after):
                after, said_s = event.number, loop.time()
                yield _as_text(event)
                if event.kind in _LAST:
                    return
            if state.is_final:  # its last line was lost in a crash, or the client has had it
                yield _as_text(Event(after + 1, state.value, {}))
                return
            if loop.time() - said_s > SIGN_OF_LIFE_EVERY_S:
                said_s = loop.time()
                yield ": still there\n\n"
            await asyncio.sleep(LOOK_EVERY_S)
    except UnknownStudyError:
        yield "event: removed\ndata: {}\n\n"


def _as_text(event: Event) -> str:
    return f"id: {event.number}\nevent: {event.kind}\ndata: {json.dumps(event.fields)}\n\n"
