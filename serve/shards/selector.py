"""Ask all shards about every slice, collect answers and failures as values, and conclude: fan-out and reduce."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

from pool.analysis import AnalysisSettings, StudyAnalysis, conclude, conclude_races, race_progress
from pool.answers import MemberAnswer, MemberFailure
from pool.asl.analysis import AslAnalysis, AslAnalysisSettings, calibrated_trials
from pool.asl.series import AslSeries
from pool.manifest import PoolManifest
from pool.moments import Moments
from pool.preprocess import PreparedSlice
from pool.race import RaceRound, SliceRace
from pool.race_settings import RaceSettings
from pool.series import PerfusionSeries
from pool.trials.settings import TrialSettings
from serve.shards.answer_checks import checked_maps, checked_moments, refuse_too_few
from serve.shards.asl_selector import AslSelector
from serve.shards.fan_out import Shard, Stream, ask_shards
from serve.shards.limits import SelectorLimits
from serve.shards.members import members_of_shard, patches_of_shard
from serve.shards.outcomes import Outcome, outcome_in_race, outcome_of
from serve.silence import in_short

_log = logging.getLogger(__name__)

OnProgress = Callable[[int, int], None]
OnAnswer = Callable[[str, str, Outcome], None]


def _ignore(*_: object) -> None:
    """Nobody watches."""


class Selector:
    """Fans slices out to shards and reduces their answers.

    Args:
        manifest: of the whole pool.
        shards: shard k holds members k, k + n_shards, ... of the manifest.
        settings: what decides the numbers.
        limits: deadlines and bounds.
        put: puts a slice where all shards can read it and returns the reference; called once a slice.
        on_failure: called with the number of a shard whenever it fails or dies.
        asl_settings: what decides the numbers of an ASL analysis; default: trials as its members are calibrated with.
    """

    def __init__(
        self,
        manifest: PoolManifest,
        shards: Sequence[Shard],
        settings: AnalysisSettings,
        limits: SelectorLimits,
        put: Callable[[PreparedSlice], Any],
        on_failure: Callable[[int], None] = _ignore,
        asl_settings: AslAnalysisSettings | None = None,
    ) -> None:
        self._on_failure = on_failure
        self._manifest, self._shards, self._settings, self._limits, self._put = manifest, shards, settings, limits, put
        self._in_flight = asyncio.Semaphore(limits.slices_in_flight)
        asl = asl_settings or AslAnalysisSettings(TrialSettings(calibrated_trials(manifest)))
        self._asl = AslSelector(manifest, shards, asl, limits, self._in_flight, on_failure)

    async def ready(self) -> list[str]:
        """What keeps the service from being ready, in words; empty when every shard has loaded its members."""
        complaints = await asyncio.gather(*(self._complaint(k) for k in range(len(self._shards))))
        return [complaint for complaint in complaints if complaint]

    async def analyse(
        self,
        series: PerfusionSeries,
        prepared: Sequence[PreparedSlice],
        on_progress: OnProgress | None = None,
        on_answer: OnAnswer | None = None,
    ) -> StudyAnalysis:
        """The result of a study: what `pool.analysis.analyse` gives, from many processes.

        Args:
            series: the study.
            prepared: its prepared slices.
            on_progress: called with (sweeps done, sweeps in total) after every answer; a failure counts as done.
            on_answer: called with slice, member and what its answer came to, as answers come in.

        Raises:
            SettingsError: a pool without members that sweep patches.
            TooFewMembersError: a slice with answers of fewer than `least_members` members.
        """
        self._manifest.require_patches()
        on_progress, on_answer = on_progress or _ignore, on_answer or _ignore
        if self._settings.race is not None:
            return await self._race(series, prepared, self._settings.race, on_progress, on_answer)
        n_sweeps = len(prepared) * len(self._manifest.of_patches)
        answers: list[dict[str, MemberAnswer]] = [{} for _ in prepared]

        def count() -> None:
            on_progress(sum(map(len, answers)), n_sweeps)

        async with asyncio.TaskGroup() as slices:
            for item, own in zip(prepared, answers, strict=True):
                slices.create_task(self._ask_all(item, own, count, on_answer))
        for item, own in zip(prepared, answers, strict=True):
            refuse_too_few(f"slice {item.name}", own, self._limits.least_members)
        return await asyncio.to_thread(conclude, series, prepared, answers, self._manifest, self._settings)

    async def analyse_asl(
        self, series: AslSeries, on_progress: OnProgress | None = None, on_answer: OnAnswer | None = None
    ) -> AslAnalysis:
        """The result of an ASL study: see `serve.shards.asl_selector.AslSelector.analyse`."""
        return await self._asl.analyse(series, on_progress or _ignore, on_answer or _ignore)

    async def _race(
        self,
        series: PerfusionSeries,
        prepared: Sequence[PreparedSlice],
        settings: RaceSettings,
        on_progress: OnProgress,
        on_answer: OnAnswer,
    ) -> StudyAnalysis:
        """A race a slice, members of all shards against each other; progress is the share of patch passes."""
        races = [SliceRace(item, self._manifest, self._settings.sweep, settings) for item in prepared]
        n_sweeps = len(prepared) * len(self._manifest.of_patches)
        most_done = 0

        def count() -> None:
            nonlocal most_done
            n_passes, n_expected = race_progress(races)
            most_done = max(most_done, n_sweeps * n_passes // max(n_expected, 1))
            on_progress(most_done, n_sweeps)

        async with asyncio.TaskGroup() as slices:
            for item, race in zip(prepared, races, strict=True):
                slices.create_task(self._run_race(item, race, count, on_answer))
        for item, race in zip(prepared, races, strict=True):
            refuse_too_few(f"slice {item.name}", race.answers(), self._limits.least_members)
        return await asyncio.to_thread(conclude_races, series, prepared, races, self._manifest, self._settings)

    async def _ask_all(
        self,
        prepared: PreparedSlice,
        answers: dict[str, MemberAnswer],
        count: Callable[[], None],
        on_answer: OnAnswer,
    ) -> None:
        def note(member_id: str, answer: MemberAnswer) -> None:
            answers[member_id] = checked_maps(answer, prepared)
            on_answer(prepared.name, member_id, outcome_of(answers[member_id]))
            count()

        async with self._in_flight:
            reference = await asyncio.to_thread(self._put, prepared)
            await ask_shards(
                self._shards,
                self._dealt(),
                lambda shard, member_ids: shard.ask(reference, self._settings.sweep, member_ids),
                note,
                self._limits.slice_deadline_s,
                self._on_failure,
            )

    async def _run_race(
        self, prepared: PreparedSlice, race: SliceRace, count: Callable[[], None], on_answer: OnAnswer
    ) -> None:
        async with self._in_flight:
            reference = await asyncio.to_thread(self._put, prepared)
            while (current := race.next_round()) is not None:
                await self._run_round(reference, prepared, race, current, count, on_answer)

    async def _run_round(
        self,
        reference: Any,
        prepared: PreparedSlice,
        race: SliceRace,
        current: RaceRound,
        count: Callable[[], None],
        on_answer: OnAnswer,
    ) -> None:
        def ask(shard: Shard, member_ids: tuple[str, ...]) -> Stream:
            starts = {member_id: race.start_of(member_id) for member_id in member_ids}
            return shard.refine(reference, self._settings.sweep, current.n_patches, starts)

        def note(member_id: str, answer: Moments | MemberFailure) -> None:
            checked = checked_moments(answer, prepared, self._settings.sweep, current.n_patches)
            race.note(member_id, checked)
            on_answer(prepared.name, member_id, outcome_in_race(race, member_id, current.n_patches, checked))
            count()

        deadline_s = self._limits.slice_deadline_s
        wanted = self._dealt(current.member_ids)
        await ask_shards(self._shards, wanted, ask, note, deadline_s, self._on_failure)

    def _dealt(self, member_ids: Collection[str] | None = None) -> list[list[str]]:
        """Members by the shard that holds them: all, or those given."""
        return [
            [i for i in patches_of_shard(self._manifest, k, len(self._shards)) if member_ids is None or i in member_ids]
            for k in range(len(self._shards))
        ]

    async def _complaint(self, k: int) -> str:
        expected = members_of_shard(self._manifest, k, len(self._shards))
        try:
            async with asyncio.timeout(self._limits.readiness_deadline_s):
                found = await self._shards[k].loaded()
        except TimeoutError:
            return f"shard {k} does not answer"
        except Exception as error:
            _log.warning("shard %d is not ready: %s", k, in_short(error))
            return f"shard {k} is not there"
        return "" if found == expected else f"shard {k} holds other members than the manifest deals to it"
