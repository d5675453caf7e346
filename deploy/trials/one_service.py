"""`python -m serve run` as its own process, to be measured from outside: when it is ready, what memory it takes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx

from deploy.trials.processes import CONTROLLER, PROXY, REPLICA, descendants, kill_tree, memory_mb
from serve.settings import ServiceSettings

READY_DEADLINE_S = 900.0
STOP_DEADLINE_S = 120.0
MOST_STARTS = 8
RAY_TOO_SLOW = "timed out during startup"
"""Said by Ray where a node takes more than its 30 s, as on a machine that also does other work: no finding."""
_POLL_S = 0.1
ROOT = Path(__file__).parents[2]


class OneService:
    """A service on this machine; use it as a context manager.

    Args:
        settings: of the service.
        log: where its output goes.

    Raises:
        TimeoutError: it does not become ready; holds the end of its log.
    """

    def __init__(self, settings: ServiceSettings, log: Path) -> None:
        self.settings, self._log = settings, log
        self.url = f"http://{settings.host}:{settings.port}"
        self.ready_after_s = 0.0
        """From the start of the process until it was ready [s]."""
        self.stopped_after_s = 0.0
        """From Ctrl-C until all its processes were gone [s]; 0 while it runs."""

    def __enter__(self) -> OneService:
        given = self.settings.model_dump(exclude_defaults=True)
        unwanted = ("RAY_ADDRESS", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")  # of somebody else's Ray
        environment = {name: value for name, value in os.environ.items() if name not in unwanted}
        environment |= {f"POOL_SERVE_{name.upper()}": str(value) for name, value in given.items()}
        environment |= {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "serve", "run", "--pool", str(self.settings.pool_dir)]
        for n_starts_left in reversed(range(MOST_STARTS)):
            started_s = time.monotonic()
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            try:
                self._wait_until_ready()
            except BaseException:
                kill_tree(self._process.pid)
                self._process.wait()
                if RAY_TOO_SLOW in self._log.read_text() and n_starts_left:
                    continue
                raise
            self.ready_after_s = time.monotonic() - started_s
            break
        return self

    def __exit__(self, *_: object) -> None:
        if not self.stopped_after_s:
            self.stop()

    def stop(self) -> int:
        """Ctrl-C, and wait; returns how many processes had to be killed because they stayed."""
        mine = {self._process.pid, *descendants(self._process.pid)}
        started_s = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        while (left := {pid for pid in mine if _runs(pid)}) and time.monotonic() < started_s + STOP_DEADLINE_S:
            self._process.poll()
            time.sleep(_POLL_S)
        self.stopped_after_s = time.monotonic() - started_s
        for pid in left:
            kill_tree(pid)
        self._process.wait()
        return len(left)

    def memory(self, kind: str = "Pss") -> dict[str, float]:
        """Memory by part of the service [MB], all of a kind together; `total` is their sum. See `memory_mb`."""
        found: Counter[str] = Counter()
        for pid, title in {self._process.pid: "driver", **descendants(self._process.pid)}.items():
            found[part_of(title)] += memory_mb(pid, kind)  # type: ignore[assignment]
        return {**{name: round(value, 1) for name, value in sorted(found.items())}, "total": round(found.total(), 1)}

    def _wait_until_ready(self) -> None:
        end_s = time.monotonic() + READY_DEADLINE_S
        while time.monotonic() < end_s:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            if self._process.poll() is not None:
                raise TimeoutError(f"the service ended: {self._log.read_text()[-2000:]}")
            time.sleep(_POLL_S)
        raise TimeoutError("the service did not become ready")


def part_of(title: str) -> str:
    """Which part of a service a process is, by its title; shards are one part."""
    if title == "driver":
        return title
    if replica := re.match(rf"{REPLICA}[^:]+:([a-z]+)", title):
        return {"shard": "shards"}.get(replica[1], replica[1])
    for start, name in ((CONTROLLER, "controller"), (PROXY, "proxy"), ("ray::IDLE", "idle workers")):
        if title.startswith(start):
            return name
    for program in ("gcs_server", "raylet"):
        if program in title.split(" ")[0]:
            return program
    return "readers" if "serve.reading" in title or "guarded" in title else "Ray, the rest"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
