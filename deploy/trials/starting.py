"""How long the service takes to be ready, and what memory it takes when it has nothing to do."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deploy.trials.nodes import free_ports
from deploy.trials.one_service import OneService
from pool.manifest import PoolManifest
from pool.member import PRETRAINED
from serve.settings import ServiceSettings

MOST_START_S, MOST_IDLE_MB = 40.0, 3000.0
"""What K = 2 with 50 compact members may take."""
SETTLED_AFTER_S = 10.0
"""From ready to the measurement of memory [s]."""


def measure_starting(
    folder: Path, n_shards: int, n_rounds: int, say: Callable[[str], None], pool_dir: Path = PRETRAINED
) -> dict[str, Any]:
    """Start, wait, look and stop, several times.

    Args:
        folder: to work in.
        n_shards: shards of the service.
        n_rounds: starts.
        say: takes a line a round.
        pool_dir: the pool.
    """
    rounds: list[dict[str, Any]] = []
    for number in range(n_rounds):
        settings = ServiceSettings(
            pool_dir=pool_dir, studies_dir=folder / "studies", n_shards=n_shards, port=free_ports(1)[0]
        )
        with OneService(settings, folder / "serve.log") as service:
            time.sleep(SETTLED_AFTER_S)
            memory_mb = service.memory()
            n_killed = service.stop()
        rounds.append(
            {
                "ready_after_s": round(service.ready_after_s, 2),
                "stopped_after_s": round(service.stopped_after_s, 2),
                "n_processes_that_stayed": n_killed,
                "idle_memory_mb": memory_mb,
            }
        )
        say(f"start {number + 1}: ready after {service.ready_after_s:.1f} s, idle {memory_mb['total']:.0f} MB")
    ready_s = statistics.median(found["ready_after_s"] for found in rounds)
    idle_mb = max(found["idle_memory_mb"]["total"] for found in rounds)
    return {
        "n_shards": n_shards,
        "n_members": PoolManifest.load(pool_dir).n_members,
        "rounds": rounds,
        "ready_after_s_median": ready_s,
        "idle_memory_mb_greatest": idle_mb,
        "most_start_s": MOST_START_S,
        "most_idle_mb": MOST_IDLE_MB,
        "holds": ready_s <= MOST_START_S and idle_mb <= MOST_IDLE_MB,
    }
