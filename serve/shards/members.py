"""A shard: some members of the pool, loaded and verified, that answer one after the other."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pool.analysis import AnalysisSettings
from pool.answers import MemberAnswer, MemberFailure
from pool.errors import PoolError, PoolFolderError
from pool.manifest import PoolManifest
from pool.member import Member, Pool
from pool.moments import Moments
from pool.preprocess import PreparedSlice
from pool.shapes import SliceFrames
from pool.sweep import MemberMaps, SweepSettings
from pool.trials.run import run_trials
from pool.trials.settings import TrialSettings
from pool.trials.sums import TrialSums
from serve.shards.fan_out import Wanted
from serve.shards.trial_parts import TrialPart
from serve.shards.trial_run import tried_sampler, try_member
from serve.silence import in_short

_log = logging.getLogger(__name__)

KeepGoing = Callable[[], bool]


def patches_of_shard(manifest: PoolManifest, shard: int, n_shards: int) -> tuple[str, ...]:
    """Ids of the members of patches that a shard holds: the i-th lives in shard i mod n_shards."""
    return tuple(entry.id for entry in manifest.of_patches[shard::n_shards])


def members_of_shard(manifest: PoolManifest, shard: int, n_shards: int) -> tuple[str, ...]:
    """Ids of all members that a shard holds: its members of patches, and every member of trials.

    An image's trials are shared among the shards, see `serve.shards.trial_parts`, so all of them need the weights.
    """
    own = patches_of_shard(manifest, shard, n_shards)
    return (*own, *(entry.id for entry in manifest.of_trials))


class ShardWorker:
    """Members that answer about slices and ASL images; one at a time, however many were asked about.

    Args:
        pool_dir: the pool folder.
        pool_sha256: hash of the manifest that the selector works with.
        shard: number of this shard, from 0.
        n_shards: number of shards.
        n_threads: threads of torch; the last bits of the maps depend on it, so it is never left to the machine.
        device: torch device.
        stall_deadline_s: a sweep that does not move for so long makes the shard unhealthy [s].
        analysis: how slices will be prepared and swept; each member is tried so before the shard is there.

    Raises:
        PoolFolderError: see `Pool.load` and `try_member`; or a folder that holds another pool by now.
    """

    def __init__(
        self,
        pool_dir: Path,
        pool_sha256: str,
        shard: int,
        n_shards: int,
        n_threads: int,
        device: str = "cpu",
        stall_deadline_s: float = 300.0,
        analysis: AnalysisSettings | None = None,
    ) -> None:
        torch.set_num_threads(n_threads)
        manifest = PoolManifest.load(pool_dir)
        if manifest.sha256() != pool_sha256:
            raise PoolFolderError(
                f"pool {manifest.name}",
                "must stay the one that the service started with",
                "another manifest",
                "Restart it.",
            )
        pool = Pool.load(pool_dir, device, members_of_shard(manifest, shard, n_shards))
        tried = analysis or AnalysisSettings()
        for member in pool.of_patches:
            try_member(member, tried.preprocess, tried.sweep)
        self._members: dict[str, Member] = {member.entry.id: member for member in pool.of_patches}
        self._samplers = {member.entry.id: tried_sampler(member) for member in pool.of_trials}
        # OpenMP keeps its number of threads per calling thread, hence the initializer.
        self._executor = ThreadPoolExecutor(1, "sweep", initializer=torch.set_num_threads, initargs=(n_threads,))
        self._stall_deadline_s = stall_deadline_s
        self._last_sign_s: float | None = None

    def loaded(self) -> tuple[str, ...]:
        """Ids of the members that are loaded, verified and tried."""
        return (*self._members, *self._samplers)

    def check_health(self) -> None:
        """Asked by Ray Serve every few seconds.

        Raises:
            RuntimeError: the sweep under way has stopped moving; the replica is then replaced.
        """
        last = self._last_sign_s
        if last is not None and time.monotonic() - last > self._stall_deadline_s:
            raise RuntimeError(f"a sweep made no progress for {self._stall_deadline_s:g} s")

    async def analyse(
        self, prepared: PreparedSlice, settings: SweepSettings, member_ids: Sequence[str]
    ) -> AsyncGenerator[tuple[str, MemberAnswer], None]:
        """Each member's answer about a slice, as soon as it is there.

        A member that raises answers with a `MemberFailure`; the others go on. When the caller stops listening, the
        sweep under way ends at its next row of patches.

        Args:
            prepared: the slice.
            settings: of the sweep.
            member_ids: whom to ask, in this order.
        """

        own = _writable(prepared)

        def work(member_id: str, keep_going: KeepGoing) -> MemberMaps | None:
            return self._members[member_id].analyse(own, settings, keep_going)

        async with aclosing(self._each(member_ids, work)) as answers:
            async for member_id, answer in answers:
                yield member_id, answer

    async def refine(
        self,
        prepared: PreparedSlice,
        settings: SweepSettings,
        n_patches: int,
        starts: Mapping[str, Moments | None],
    ) -> AsyncGenerator[tuple[str, Moments | MemberFailure], None]:
        """As `analyse`, for one round of a race: see `serve.shards.fan_out.Shard.refine`.

        Args:
            prepared: the slice.
            settings: of the sweep.
            n_patches: how many of the first patches are wanted.
            starts: whom to ask, in this order, and what each goes on from.
        """

        own = _writable(prepared)

        def work(member_id: str, keep_going: KeepGoing) -> Moments | None:
            return self._members[member_id].refine(own, settings, n_patches, starts[member_id], keep_going)

        async with aclosing(self._each(tuple(starts), work)) as answers:
            async for member_id, answer in answers:
                yield member_id, answer

    async def sample(
        self, image: SliceFrames, settings: TrialSettings, parts: Sequence[TrialPart]
    ) -> AsyncGenerator[tuple[TrialPart, TrialSums | MemberFailure], None]:
        """As `analyse`, for some trials about an ASL image: see `serve.shards.fan_out.Shard.sample`.

        Args:
            image: standardised, float32 `1 row col`.
            settings: of the trials of every member.
            parts: whose trials, and which; answered in this order.
        """
        own = image.copy()

        def work(part: TrialPart, keep_going: KeepGoing) -> TrialSums | None:
            return run_trials(self._samplers[part.member_id], own, settings, part.blocks, keep_going=keep_going)

        async with aclosing(self._each(parts, work)) as answers:
            async for part, answer in answers:
                yield part, answer

    async def _each(
        self, wanted: Sequence[Wanted], work: Callable[[Wanted, KeepGoing], Any]
    ) -> AsyncGenerator[tuple[Wanted, Any], None]:
        stopped = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            for item in wanted:
                answer = await loop.run_in_executor(self._executor, self._answer, item, work, stopped)
                yield item, answer
        finally:
            stopped.set()

    def _answer(self, item: Wanted, work: Callable[[Wanted, KeepGoing], Any], stopped: threading.Event) -> Any:
        def keep_going() -> bool:
            self._last_sign_s = time.monotonic()
            return not stopped.is_set()

        if stopped.is_set():
            return MemberFailure("was stopped")
        keep_going()
        try:
            return work(item, keep_going) or MemberFailure("was stopped")
        except PoolError as error:
            return MemberFailure(str(error))
        except Exception as error:
            _log.error("member %s failed: %s", item, in_short(error))
            return MemberFailure(f"raised {type(error).__name__}")
        finally:
            self._last_sign_s = None


def _writable(prepared: PreparedSlice) -> PreparedSlice:
    """Arrays from the object store are read-only, which torch cannot express."""
    return replace(prepared, frames=prepared.frames.copy())
