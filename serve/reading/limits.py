"""How much a process that opens files from strangers may take; the kernel sees to it."""

from __future__ import annotations

import ctypes
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ReadingLimits:
    """Of one child."""

    memory_mb: int = 2048
    """Memory beyond what it starts with [MB]."""
    cpu_s: int = 120
    """Processor time [s]."""
    deadline_s: float = 240.0
    """Time until it is killed [s]."""
    disk_mb: int = 4096
    """Largest file that it may write [MB]: what a zip archive may unpack to, file by file."""


def apply_limits(limits: ReadingLimits) -> None:
    """Bind this process to the limits, for good; it dies with its parent and leaves no core file."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    started_with = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for what, most in (
        (resource.RLIMIT_AS, started_with + limits.memory_mb * 1_000_000),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.disk_mb * 1_000_000),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(what, (most, most))
