"""How much memory the service's front and proxy take while something goes on."""

from __future__ import annotations

import os
import threading

from deploy.trials.processes import PROXY, REPLICA, descendants, memory_mb

_EVERY_S = 0.5


class MemoryWatch:
    """Context manager; watches the service that this process has started."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first_mb = self._greatest_mb = _front_and_proxy_mb()

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth_mb(self) -> float:
        """Greatest minus first [MB]."""
        return self._greatest_mb - self._first_mb

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._greatest_mb = max(self._greatest_mb, _front_and_proxy_mb())


def _front_and_proxy_mb() -> float:
    """Proportional set size of both, without the children that open uploads [MB]."""
    ours = descendants(os.getpid())
    wanted = [
        pid for pid, title in ours.items() if title.startswith(PROXY) or f"{REPLICA}perfusion-pool:front" in title
    ]
    return sum(memory_mb(pid) for pid in wanted)
