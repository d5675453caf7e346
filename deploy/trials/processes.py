"""Processes of this machine by what they are to Ray Serve, to be killed as a crash would kill them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

REPLICA, PROXY, CONTROLLER = "ray::ServeReplica:", "ray::ProxyActor", "ray::ServeController"
"""How Ray names its processes."""


def descendants(pid: int) -> dict[int, str]:
    """Every process that a process started, and those that these started: title by process id."""
    parents: dict[int, list[int]] = {}
    titles: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(folder.name))
                titles[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    found: dict[int, str] = {}
    left = list(parents.get(pid, ()))
    while left:
        child = left.pop()
        found[child] = titles.get(child, "")
        left += parents.get(child, ())
    return found


def kill(pid: int) -> bool:
    """SIGKILL; False where it is gone already."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def kill_tree(pid: int) -> None:
    """A process and all that it started, and what these start while they are being killed."""
    victims = {pid, *descendants(pid)}
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGSTOP)  # so that nobody starts anything while the others die
    victims |= set(descendants(pid))
    for victim in victims:
        kill(victim)
    end_s = time.monotonic() + 30
    while any(_runs(victim) for victim in victims) and time.monotonic() < end_s:
        time.sleep(0.05)


def memory_mb(pid: int, kind: str = "Pss") -> float:
    """Memory of a process [MB]; 0 where it is gone.

    Args:
        pid: of the process.
        kind: `Pss`, its proportional share of what it has; or `Anonymous`, what it asked for itself, which does not
            change when other programs of the machine come to share its libraries.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{kind}:"):
                return int(line.split()[1]) / 1000
    return 0.0


def _runs(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False
