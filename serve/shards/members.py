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
from pool.sweep import MemberMaps, SweepSettings
from serve.shards.trial_run import try_member
from serve.silence import in_short

_log = logging.getLogger(__name__)

KeepGoing = Callable[[], bool]


def members_of_shard(manifest: PoolManifest, shard: int, n_shards: int) -> tuple[str, ...]:
    """Ids of the members that a shard holds: member i lives in shard i mod n_shards, in the manifest's order."""
    return tuple(entry.id for entry in manifest.members[shard::n_shards])


class ShardWorker:
    """Members that answer about slices; one sweep at a time, however many slices were asked about.

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
        for member in pool.members:
            try_member(member, tried.preprocess, tried.sweep)
        self._members: dict[str, Member] = {member.entry.id: member for member in pool.members}
        # OpenMP keeps its number of threads per calling thread, hence the initializer.
        self._executor = ThreadPoolExecutor(1, "sweep", initializer=torch.set_num_threads, initargs=(n_threads,))
        self._stall_deadline_s = stall_deadline_s
        self._last_sign_s: float | None = None

    def loaded(self) -> tuple[str, ...]:
        """Ids of the members that are loaded, verified and tried."""
        return tuple(self._members)

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

        def work(member: Member, own: PreparedSlice, keep_going: KeepGoing) -> MemberMaps | None:
            return member.analyse(own, settings, keep_going)

        async with aclosing(self._each(prepared, member_ids, work)) as answers:
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

        def work(member: Member, own: PreparedSlice, keep_going: KeepGoing) -> Moments | None:
            return member.refine(own, settings, n_patches, starts[member.entry.id], keep_going)

        async with aclosing(self._each(prepared, tuple(starts), work)) as answers:
            async for member_id, answer in answers:
                yield member_id, answer

    async def _each(
        self,
        prepared: PreparedSlice,
        member_ids: Sequence[str],
        work: Callable[[Member, PreparedSlice, KeepGoing], Any],
    ) -> AsyncGenerator[tuple[str, Any], None]:
        # Arrays from the object store are read-only, which torch cannot express.
        own = replace(prepared, frames=prepared.frames.copy())
        stopped = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            for member_id in member_ids:
                answer = await loop.run_in_executor(self._executor, self._answer, member_id, own, work, stopped)
                yield member_id, answer
        finally:
            stopped.set()

    def _answer(
        self,
        member_id: str,
        prepared: PreparedSlice,
        work: Callable[[Member, PreparedSlice, KeepGoing], Any],
        stopped: threading.Event,
    ) -> Any:
        def keep_going() -> bool:
            self._last_sign_s = time.monotonic()
            return not stopped.is_set()

        if not keep_going():
            return MemberFailure("was stopped")
        try:
            return work(self._members[member_id], prepared, keep_going) or MemberFailure("was stopped")
        except PoolError as error:
            return MemberFailure(str(error))
        except Exception as error:
            _log.error("member %s failed: %s", member_id, in_short(error))
            return MemberFailure(f"raised {type(error).__name__}")
        finally:
            self._last_sign_s = None
