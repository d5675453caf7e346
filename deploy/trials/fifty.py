"""Fifty shards for real on one machine, with tiny members: start, fan-out, selection, shutdown."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from deploy.trials.nodes import free_ports
from deploy.trials.one_service import OneService
from deploy.trials.studies import reference, write_small_study, write_tiny_pool
from pool.member import Pool
from serve.client import ServiceClient
from serve.settings import ServiceSettings

CPUS_IN_TOTAL = 1.0
"""That all shards reserve in Ray together: they are many more than this machine has cores."""
STRIDE_PX = 16
STUDY_DEADLINE_S = 900.0


def measure_many_shards(folder: Path, n_shards: int, n_studies: int, say: Callable[[str], None]) -> dict[str, Any]:
    """One member a shard; every study must have the bytes of one process.

    Args:
        folder: to work in.
        n_shards: shards, and members.
        n_studies: small studies of one slice, one after the other.
        say: takes a line a step.
    """
    torch.set_num_threads(1)
    write_tiny_pool(folder / "pool", n_shards)
    settings = ServiceSettings(
        pool_dir=folder / "pool",
        studies_dir=folder / "studies",
        n_shards=n_shards,
        cpus_per_shard=CPUS_IN_TOTAL / n_shards,
        stride_px=STRIDE_PX,
        readiness_deadline_s=30.0,
        start_deadline_s=900.0,
        port=free_ports(1)[0],
    )
    pool = Pool.load(folder / "pool")
    studies = [write_small_study(folder / f"{number}.npz", number) for number in range(n_studies)]
    expected = [reference(study, pool, settings.analysis) for study in studies]
    times_s, n_equal = [], 0
    with OneService(settings, folder / "serve.log") as service:
        idle_mb = service.memory()
        say(f"{n_shards} shards ready after {service.ready_after_s:.0f} s, {idle_mb['total']:.0f} MB")
        with ServiceClient(service.url, patience_s=60.0) as client:
            shards = {member["shard"] for member in client.pool()["members"]}
            for study, wanted in zip(studies, expected, strict=True):
                started_s = time.monotonic()
                sent = client.send(study)
                client.wait(sent.id, deadline_s=STUDY_DEADLINE_S)
                times_s.append(time.monotonic() - started_s)
                n_equal += all(client.result(sent.id, name) == content for name, content in wanted.items())
        busy_mb = service.memory()
        n_killed = service.stop()
    say(f"{n_equal} of {n_studies} studies as in one process; stopped after {service.stopped_after_s:.0f} s")
    return {
        "n_shards": n_shards,
        "n_shards_that_hold_a_member": len(shards),
        "ready_after_s": round(service.ready_after_s, 1),
        "idle_memory_mb": idle_mb,
        "memory_after_studies_mb": busy_mb,
        "study_s_median": round(statistics.median(times_s), 2),
        "study_s_greatest": round(max(times_s), 2),
        "n_studies": n_studies,
        "n_equal_to_one_process": n_equal,
        "stopped_after_s": round(service.stopped_after_s, 1),
        "n_processes_that_stayed": n_killed,
        "holds": n_equal == n_studies and len(shards) == n_shards and n_killed == 0,
    }
