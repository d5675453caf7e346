"""Studies without a pause for a long time: does memory stay flat, does a study take as long at the end as at first?"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deploy.trials.nodes import free_ports
from deploy.trials.one_service import OneService
from deploy.trials.studies import write_small_study, write_tiny_pool
from pool.errors import PoolError
from serve.client import ServiceClient
from serve.settings import ServiceSettings

N_MEMBERS, N_SHARDS, STRIDE_PX = 4, 2, 16
SAMPLE_EVERY_S = 5.0
WARM_UP_SHARE = 0.25
"""Of the time, at its beginning, that the slope leaves out: caches and arenas fill."""
FLAT_MB_AN_HOUR, FLAT_SHARE_AN_HOUR = 50.0, 0.03
"""Memory is flat if it climbs by at most the greater of the two, the share being of its mean. It is what the processes
asked for themselves: shares of libraries move with whatever else the machine runs."""


@dataclass
class Sent:
    """What clients did, from all of their threads."""

    times_s: list[tuple[float, float]] = field(default_factory=list)
    """Moment of each study's end since the start, and how long it took [s]."""
    failures: list[str] = field(default_factory=list)


def soak(folder: Path, minutes: float, n_clients: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Send small studies, all different, for so long, and watch the memory of every part.

    Args:
        folder: to work in.
        minutes: how long.
        n_clients: that send one study after the other.
        say: takes a line now and then.
    """
    write_tiny_pool(folder / "pool", N_MEMBERS)
    settings = ServiceSettings(
        pool_dir=folder / "pool",
        studies_dir=folder / "studies",
        n_shards=N_SHARDS,
        cpus_per_shard=0.5,
        stride_px=STRIDE_PX,
        port=free_ports(1)[0],
    )
    sent, samples = Sent(), []
    with OneService(settings, folder / "serve.log") as service:
        started_s = time.monotonic()
        end_s = started_s + 60 * minutes
        clients = [
            threading.Thread(target=_send, args=(service.url, folder, number, started_s, end_s, sent), daemon=True)
            for number in range(n_clients)
        ]
        for client in clients:
            client.start()
        while time.monotonic() < end_s:
            time.sleep(min(SAMPLE_EVERY_S, max(0.0, end_s - time.monotonic())))
            samples.append({"at_s": round(time.monotonic() - started_s, 1), **service.memory("Anonymous")})
            if len(samples) % 24 == 0:
                say(f"{samples[-1]['at_s']:.0f} s: {len(sent.times_s)} studies, {samples[-1]['total']:.0f} MB")
        for client in clients:
            client.join()
    return {"minutes": minutes, "n_clients": n_clients, **judged(samples, sent), "samples": samples}


def judged(samples: Sequence[dict[str, float]], sent: Sent) -> dict[str, Any]:
    """The slope of memory after warming up, part by part, and of the time that a study takes."""
    warm = [sample for sample in samples if sample["at_s"] >= WARM_UP_SHARE * samples[-1]["at_s"]]
    parts = sorted({name for sample in warm for name in sample} - {"at_s"})
    slopes = {name: slope_an_hour(warm, name) for name in parts}
    mean_mb = statistics.fmean(sample["total"] for sample in warm)
    limit = max(FLAT_MB_AN_HOUR, FLAT_SHARE_AN_HOUR * mean_mb)
    ends = sorted(sent.times_s)
    tenth = max(1, len(ends) // 10)
    early, late = (statistics.median(took for _, took in part) for part in (ends[tenth : 2 * tenth + 1], ends[-tenth:]))
    return {
        "n_studies": len(ends),
        "n_failed": len(sent.failures),
        "failures": sent.failures[:10],
        "memory_mb_mean": round(mean_mb, 1),
        "slope_mb_an_hour": {name: round(value, 1) for name, value in slopes.items()},
        "flat_below_mb_an_hour": round(limit, 1),
        "study_s_early": round(early, 2),
        "study_s_late": round(late, 2),
        "holds": not sent.failures and slopes["total"] <= limit,
    }


def slope_an_hour(samples: Sequence[dict[str, float]], part: str) -> float:
    """Least-squares slope of a part's memory [MB/h]; a part that is absent from a sample had none."""
    at_h = np.array([sample["at_s"] for sample in samples]) / 3600
    mb = np.array([sample.get(part, 0.0) for sample in samples])
    return float(np.polyfit(at_h, mb, 1)[0]) if len(samples) > 1 else 0.0


def _send(url: str, folder: Path, client_number: int, started_s: float, end_s: float, sent: Sent) -> None:
    with ServiceClient(url, patience_s=60.0) as client:
        number = 0
        while time.monotonic() < end_s:
            path = write_small_study(folder / f"client-{client_number}.npz", 1_000_000 * client_number + number)
            began_s = time.monotonic()
            try:
                client.wait(client.send(path).id, deadline_s=300.0)
            except PoolError as error:
                sent.failures.append(str(error))
            else:
                sent.times_s.append((time.monotonic() - started_s, time.monotonic() - began_s))
            number += 1
