"""How much memory the service's front and proxy take while something goes on."""

from __future__ import annotations

import os
import threading

from deploy.trials.processes import PROXY, REPLICA, descendants, memory_mb

_EVERY_S = 0.5
_TITLES = {"proxy": PROXY, "front": f"{REPLICA}perfusion-pool:front"}


class MemoryWatch:
    """Context manager; watches the service that this process has started."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first_mb = _now_mb()
        self._greatest_mb = dict(self._first_mb)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def growth_mb(self) -> float:
        """Greatest minus first of both together [MB]; the greatest need not have been at the same moment."""
        return sum(self._greatest_mb.values()) - sum(self._first_mb.values())

    def in_words(self) -> str:
        """First and greatest of each."""
        each = (f"{name} {self._first_mb[name]:.0f} -> {most:.0f} MB" for name, most in self._greatest_mb.items())
        return "at first and at most: " + ", ".join(each)

    def _watch(self) -> None:
        while not self._stop.wait(_EVERY_S):
            for name, found_mb in _now_mb().items():
                self._greatest_mb[name] = max(self._greatest_mb[name], found_mb)


def _now_mb() -> dict[str, float]:
    """Proportional set size of each, without the children that open uploads [MB]."""
    processes = descendants(os.getpid())
    found = {}
    for name, start in _TITLES.items():
        pids = {pid for pid, title in processes.items() if title.startswith(start)}
        # a child bears its parent's title, and shares its memory, until it is the program that it was made for
        found[name] = sum(memory_mb(pid) for pid in pids - {child for pid in pids for child in descendants(pid)})
    return found
