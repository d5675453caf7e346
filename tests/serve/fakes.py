"""Shards that fail on purpose, and what they answer with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pool.analysis import AnalysisSettings
from pool.answers import MemberAnswer, MemberFailure
from pool.asl.inputs import open_any_study
from pool.manifest import MemberEntry, PoolManifest
from pool.moments import Moments
from pool.networks import NetworkSpec
from pool.preprocess import PreparedSlice, PreprocessSettings, WayBack
from pool.series import PerfusionSeries
from pool.sweep import MemberMaps, SweepSettings
from serve.reading import Upload, prepared_upload
from serve.shards.limits import SelectorLimits
from serve.shards.selector import Selector
from serve.store.basis import Basis
from tests.pool.races import IMAGE_PX, SWEEP, U_PP, moments_of

BASIS = Basis("0" * 64, "1" * 64)
"""Of studies that are put into a store by hand."""
SETTINGS = AnalysisSettings(PreprocessSettings(image_px=IMAGE_PX), SWEEP)
"""Of an analysis of slices that small."""
Answer = Callable[[str], MemberAnswer]


def manifest_of(n_members: int) -> PoolManifest:
    """A manifest without weights: m0, m1, ..."""
    spec = NetworkSpec(width=1, n_poolings=1)
    return PoolManifest("fake", tuple(MemberEntry(f"m{i}", i, 1, 0.5, spec, "0" * 64) for i in range(n_members)))


def maps_of(member_id: str, image_px: int = IMAGE_PX) -> MemberMaps:
    """Maps with a ring of a mask; the lower the member's number, the lower its U_pp."""
    rows, cols = np.indices((image_px, image_px)) - (image_px - 1) / 2
    radius = np.hypot(rows, cols)
    mask = (radius > 2.5) & (radius < 6)
    myocardium = np.where(mask, 0.9, 0.05).astype(np.float32)
    probability = np.stack([0.95 - myocardium, myocardium, np.full_like(myocardium, 0.05)])
    number = int(member_id[1:])
    uncertainty = np.full((image_px, image_px), 0.01 * (number + 1), dtype=np.float32)
    return MemberMaps(mask, probability, uncertainty, float((uncertainty.astype(float) ** 2).sum()), int(mask.sum()))


def prepared_slices(n_slices: int) -> tuple[PreparedSlice, ...]:
    """Slices whose grid is the native one."""
    way_back = WayBack((IMAGE_PX, IMAGE_PX), IMAGE_PX, (0.0, 0.0), (1.0, 1.0))
    frames = np.zeros((30, IMAGE_PX, IMAGE_PX), dtype=np.float32)
    return tuple(PreparedSlice(f"slice-{i}", frames, way_back, (8, 8), (0, 1), (0, 29)) for i in range(n_slices))


def series_of(n_slices: int) -> PerfusionSeries:
    """The series that the slices might come from."""
    frames = np.zeros((n_slices, 30, IMAGE_PX, IMAGE_PX), dtype=np.float32)
    times = np.tile(np.arange(30.0), (n_slices, 1))
    return PerfusionSeries(frames, times, (2.0, 2.0), tuple(f"slice-{i}" for i in range(n_slices)))


class FakeShard:
    """Answers with `maps_of`, unless told otherwise.

    Args:
        answer: gives the answer of a member, or raises.
        failures: raised instead of the first answer of the first call, of the second call, ...
        ends_after: answers given before a failure is raised, or before it just ends.
        waits_for: answers nothing before it has been asked about so many slices at once.
    """

    def __init__(
        self,
        answer: Answer = maps_of,
        failures: Sequence[Exception | None] = (),
        ends_after: int = 0,
        loads: tuple[str, ...] = (),
        waits_for: int = 1,
    ) -> None:
        self.answer, self.failures, self.ends_after, self.loads = answer, list(failures), ends_after, loads
        self.calls: list[tuple[Any, tuple[str, ...]]] = []
        self.n_at_once = self.most_at_once = self.n_closed = 0
        self.waits_for, self._crowded = waits_for, asyncio.Event()

    async def ask(
        self, reference: Any, settings: SweepSettings, member_ids: Sequence[str]
    ) -> AsyncGenerator[tuple[str, MemberAnswer], None]:
        self.calls.append((reference, tuple(member_ids)))
        self.n_at_once += 1
        self.most_at_once = max(self.most_at_once, self.n_at_once)
        failure = self.failures.pop(0) if self.failures else None
        if self.n_at_once >= self.waits_for:
            self._crowded.set()
        try:
            await self._crowded.wait()
            for n_answers, member_id in enumerate(member_ids):
                await asyncio.sleep(0)
                if failure is not None and n_answers >= self.ends_after:
                    raise failure
                yield member_id, self.answer(member_id)
        finally:
            self.n_at_once -= 1
            self.n_closed += 1

    async def refine(
        self, reference: Any, settings: SweepSettings, n_patches: int, starts: Mapping[str, Moments | None]
    ) -> AsyncGenerator[tuple[str, Moments | MemberFailure], None]:
        raise NotImplementedError  # see RacingShard
        yield

    async def loaded(self) -> tuple[str, ...]:
        return self.loads


class RacingShard(FakeShard):
    """Answers rounds of a race with made-up moments.

    Args:
        u_pp: by member and number of patches.
        failures: raised in the first round after `ends_after` answers, in the second, ...
    """

    def __init__(self, u_pp: U_PP, failures: Sequence[Exception | None] = (), ends_after: int = 0) -> None:
        super().__init__(failures=failures, ends_after=ends_after)
        self.u_pp = u_pp
        self.rounds: list[tuple[int, dict[str, int | None]]] = []
        """Patches of each round, and for each member those of what it goes on from."""

    async def refine(
        self, reference: Any, settings: SweepSettings, n_patches: int, starts: Mapping[str, Moments | None]
    ) -> AsyncGenerator[tuple[str, Moments | MemberFailure], None]:
        self.rounds.append((n_patches, {key: start and start.patches.n_patches for key, start in starts.items()}))
        failure = self.failures.pop(0) if self.failures else None
        for n_answers, member_id in enumerate(starts):
            await asyncio.sleep(0)
            if failure is not None and n_answers >= self.ends_after:
                raise failure
            yield member_id, moments_of(self.u_pp[member_id][n_patches], n_patches)


class PlainReader:
    """Opens uploads in this process, without limits."""

    def read(self, files: Sequence[Path], settings: PreprocessSettings, scratch: Path) -> Upload:
        return prepared_upload(open_any_study(files[0] if len(files) == 1 else files), settings)


class HangingShard(FakeShard):
    """Never answers."""

    async def ask(
        self, reference: Any, settings: SweepSettings, member_ids: Sequence[str]
    ) -> AsyncGenerator[tuple[str, MemberAnswer], None]:
        self.calls.append((reference, tuple(member_ids)))
        try:
            await asyncio.Event().wait()
            yield member_ids[0], maps_of(member_ids[0])
        finally:
            self.n_closed += 1

    async def loaded(self) -> tuple[str, ...]:
        await asyncio.Event().wait()
        return ()


def selector_of(
    shards: Sequence[FakeShard],
    n_members: int,
    least_members: int | None = None,
    put: Callable[[PreparedSlice], Any] = lambda prepared: prepared.name,
    slice_deadline_s: float = 20.0,
    slices_in_flight: int = 2,
    settings: AnalysisSettings | None = None,
) -> Selector:
    """A selector over fake shards."""
    limits = SelectorLimits(slice_deadline_s, 0.05, slices_in_flight, least_members or n_members)
    return Selector(manifest_of(n_members), shards, settings or SETTINGS, limits, put)
