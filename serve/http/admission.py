"""Room for studies: a bound on those that wait or are worked on, uploads on their way included."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from serve.errors import QueueFullError


class Admission:
    """Lets an upload in while there is room; use it from one event loop.

    Args:
        most: bound on unfinished studies and uploads together.
        count_unfinished: how many studies of the store are unfinished.
    """

    def __init__(self, most: int, count_unfinished: Callable[[], int]) -> None:
        self._most, self._count_unfinished, self.n_uploads = most, count_unfinished, 0
        self._one_by_one = asyncio.Lock()

    @asynccontextmanager
    async def room(self) -> AsyncIterator[None]:
        """Room for one study, for as long as the block lasts; then the study itself takes it.

        Raises:
            QueueFullError: there is none; nothing of the upload has been read.
        """
        async with self._one_by_one:
            n_unfinished = await asyncio.to_thread(self._count_unfinished)
            if n_unfinished + self.n_uploads >= self._most:
                raise QueueFullError(
                    "service",
                    f"takes at most {self._most} studies at a time",
                    f"{n_unfinished} unfinished and {self.n_uploads} on their way",
                    "Send it again later.",
                )
            self.n_uploads += 1
        try:
            yield
        finally:
            self.n_uploads -= 1
