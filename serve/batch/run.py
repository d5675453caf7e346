"""The seam to Ray Data: studies stream through workers that hold the whole pool, as many as the cluster has room for.

A study is a block of its own, so that one at a time is handed out and the slowest holds up nobody. A worker that dies
is replaced and its study handed out again; what it had ended is in the ledger.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pool.errors import PoolError, SettingsError
from serve.batch.cohort import CohortStudy
from serve.batch.settings import BatchSettings
from serve.batch.worker import StudyWorker
from serve.errors import ServiceUnreachableError
from serve.ray_start import connect


@dataclass(frozen=True)
class Workers:
    """How many studies are analysed at once, and what each may take.

    Raises:
        SettingsError: numbers that make no sense.
    """

    cpus_each: float = 1.0
    """CPUs that Ray reserves for a worker."""
    gpus_each: float = 0.0
    """GPUs, or the part of one."""
    n_most: int | None = None
    """Most workers; None: as many as fit."""

    def __post_init__(self) -> None:
        if self.n_most is not None and self.n_most < 1:
            raise SettingsError("batch", "--workers must be at least 1", str(self.n_most))
        if not (math.isfinite(self.gpus_each) and self.gpus_each >= 0):
            raise SettingsError("batch", "--gpus must be 0 or more", str(self.gpus_each))
        if self.gpus_each > 1 and self.gpus_each != int(self.gpus_each):
            raise SettingsError("batch", "--gpus above 1 must be whole", str(self.gpus_each))

    def fitting(self, nodes: Sequence[Mapping[str, Any]], n_studies: int) -> int:
        """How many workers there will be.

        Args:
            nodes: `ray.nodes()`.
            n_studies: to be analysed.

        Raises:
            SettingsError: no node holds even one: Ray would wait for ever.
        """
        n = sum(self._on_node(node["Resources"]) for node in nodes if node["Alive"])
        if n == 0:
            raise SettingsError(
                "batch", f"a worker's {self.cpus_each:g} CPU and {self.gpus_each:g} GPU must exist on one node", "none"
            )
        return max(1, min(n, n_studies, self.n_most or n))

    def _on_node(self, has: Mapping[str, float]) -> int:
        by_cpu = math.floor(has.get("CPU", 0.0) / self.cpus_each)
        if not self.gpus_each:
            return by_cpu
        n_gpus = has.get("GPU", 0.0)
        # A worker fits on one device or on whole ones; 0.4 of a GPU goes in twice, not two and a half times.
        by_gpu = math.floor(1 / self.gpus_each) * n_gpus if self.gpus_each < 1 else n_gpus // self.gpus_each
        return min(by_cpu, math.floor(by_gpu))


def run_studies(
    studies: Sequence[CohortStudy],
    settings: BatchSettings,
    workers: Workers,
    stall_deadline_s: float,
    on_end: Callable[[str], None],
) -> None:
    """Analyse studies on the Ray that this process is connected to; returns when each has had its turn.

    Args:
        studies: those that have not ended yet.
        settings: of the cohort.
        workers: see `Workers`.
        stall_deadline_s: the run ends when no study comes back for so long [s].
        on_end: called with a study's pseudonym when it has.

    Raises:
        SettingsError, PoolFolderError: no room for a worker; a node that does not see the folders.
        ServiceUnreachableError: Ray gave up; what had ended is kept.
    """
    import ray
    import ray.data
    from ray.data import ActorPoolStrategy, DataContext

    n_workers = workers.fitting(ray.nodes(), len(studies))
    _check_nodes(settings)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = stall_deadline_s
    items = [{"study": study.id, "path": str(study.path)} for study in studies]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        StudyWorker,
        fn_constructor_kwargs={"settings": settings, "run_id": secrets.token_hex(8)},
        batch_size=1,
        compute=ActorPoolStrategy(size=n_workers, max_tasks_in_flight_per_actor=1),
        num_cpus=workers.cpus_each,
        num_gpus=workers.gpus_each,
        runtime_env={"env_vars": {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}},
    )
    try:
        for batch in dataset.iter_batches(batch_size=1, prefetch_batches=0):
            on_end(str(batch["study"][0]))
    except Exception as error:
        raise _in_words(error) from error


def _check_nodes(settings: BatchSettings) -> None:
    """`BatchSettings.check_node` on every node before any work: a worker's own refusal would lose its words."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    check = ray.remote(num_cpus=0, max_retries=0)(BatchSettings.check_node)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    try:
        ray.get([check.options(scheduling_strategy=On(node, soft=False)).remote(settings) for node in nodes])
    except Exception as error:
        raise _in_words(error) from error


@contextmanager
def ray_at(address: str | None) -> Iterator[None]:
    """Ray for as long as the block lasts: the one that this process is connected to, else `serve.ray_start.connect`.

    Args:
        address: head node of a cluster; None: what RAY_ADDRESS names, or a local Ray.

    Raises:
        ServiceUnreachableError: no cluster there, or it refuses.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray Data's actors make its core complain of nothing
    if address is not None:
        os.environ["RAY_ADDRESS"] = address
    import ray  # after its environment is set

    if ray.is_initialized():
        yield
        return
    try:
        connect()
    except Exception as error:  # of many kinds: nobody there, no token, another version
        raise ServiceUnreachableError(
            "Ray",
            "must be reached or started",
            type(error).__name__,
            "A cluster wants host:port of its head node, and its token in RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH.",
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _in_words(error: BaseException) -> PoolError:
    """The error of ours at the bottom of Ray's, which wraps it several times; or that Ray gave up."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PoolError):
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return ServiceUnreachableError(
        "batch", "must run to its end", type(error).__name__, "Run the same command again: it goes on where this ended."
    )
