"""Clients that send studies whatever happens to the service, and what became of each study."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import httpx

from pool.errors import PoolError
from serve.client import ServiceClient
from serve.store.records import StudyState


@dataclass
class Fate:
    """What became of one study that was sent."""

    study: Path
    id: str = ""
    """Empty until it was accepted."""
    state: str = "not sent"
    answer: dict[str, bytes] = field(default_factory=dict)
    """Its result files by name, once fetched."""
    trouble: str = ""
    """Why it has no answer."""


class Clients:
    """Several clients at once, each working through what is left.

    Args:
        url: of the service.
        studies: what to send.
        n_clients: how many at once.
        wanted: names of the result files to fetch.
        deadline_s: when to give up [s].
        token: bearer token of the service.
    """

    def __init__(
        self,
        url: str,
        studies: Sequence[Path],
        n_clients: int,
        wanted: Sequence[str],
        deadline_s: float,
        token: str | None = None,
    ) -> None:
        self.fates = [Fate(study) for study in studies]
        self._url, self._wanted, self._token = url, wanted, token
        self._end_s = time.monotonic() + deadline_s
        self._left: SimpleQueue[Fate] = SimpleQueue()
        for fate in self.fates:
            self._left.put(fate)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(n_clients)]

    def start(self) -> None:
        """Begin sending."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until every study has its answer or was given up."""
        for thread in self._threads:
            thread.join()

    @property
    def n_done(self) -> int:
        """Studies that have their answer."""
        return sum(bool(fate.answer) for fate in self.fates)

    @property
    def is_working(self) -> bool:
        """Whether any client still works."""
        return any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while True:
            try:
                fate = self._left.get_nowait()
            except Empty:
                return
            patience_s = max(self._end_s - time.monotonic(), 1.0)
            with ServiceClient(self._url, token=self._token, patience_s=patience_s) as client:
                try:
                    self._take_through(client, fate, patience_s)
                except (PoolError, httpx.HTTPError) as error:
                    fate.trouble = str(error)

    def _take_through(self, client: ServiceClient, fate: Fate, patience_s: float) -> None:
        fate.id = client.send(fate.study).id
        fate.state = StudyState.RECEIVED
        fate.state = client.wait(fate.id, deadline_s=patience_s).state
        fate.answer = {name: client.result(fate.id, name) for name in self._wanted}
