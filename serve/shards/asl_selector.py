"""Ask all shards about an ASL image, each for some of the trials, merge exactly, and conclude."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pool.answers import MemberFailure
from pool.asl.analysis import AslAnalysis, AslAnalysisSettings, conclude_asl, mean_control, multiple_px
from pool.asl.series import AslSeries
from pool.manifest import PoolManifest
from pool.perfusion.asl import LEVEL
from pool.shapes import SliceFrames
from pool.trials.images import padded
from pool.trials.sums import TrialSums
from serve.shards.answer_checks import refuse_too_few
from serve.shards.fan_out import Shard, Stream, ask_shards
from serve.shards.limits import SelectorLimits
from serve.shards.outcomes import Outcome, outcome_of_trials
from serve.shards.trial_parts import MOST_SHARDS, TrialPart, checked_sums, dealt_again, dealt_parts, maps_by_member


class AslSelector:
    """Fans an ASL image out to shards and reduces their sums.

    Args:
        manifest: of the whole pool.
        shards: each holds every member of trials.
        settings: what decides the numbers.
        limits: deadlines and bounds.
        in_flight: bound on the slices and images that the shards are asked about at once.
        on_failure: called with the number of a shard whenever it fails or dies.
    """

    def __init__(
        self,
        manifest: PoolManifest,
        shards: Sequence[Shard],
        settings: AslAnalysisSettings,
        limits: SelectorLimits,
        in_flight: asyncio.Semaphore,
        on_failure: Callable[[int], None],
    ) -> None:
        self._manifest, self._shards, self._settings = manifest, shards, settings
        self._limits, self._in_flight, self._on_failure = limits, in_flight, on_failure

    async def analyse(
        self,
        series: AslSeries,
        on_progress: Callable[[int, int], None],
        on_answer: Callable[[str, str, Outcome], None],
    ) -> AslAnalysis:
        """The result of a study: what `pool.asl.analysis.analyse_asl` gives, from many processes.

        Args:
            series: the study.
            on_progress: called with (members done, members in total); a failure counts as done.
            on_answer: called with slice, member and what its answer came to.

        Raises:
            SettingsError: a pool without members of trials.
            InconsistentStudyError, NonFiniteError: an image that shows nothing.
            TooFewMembersError: answers of fewer than `least_members` members.
        """
        self._manifest.require_trials()
        image = mean_control(series.control)
        asked_about = padded(image, multiple_px(self._manifest))
        ids = [entry.id for entry in self._manifest.of_trials]
        dealt = dealt_parts(ids, self._settings.trials, len(self._shards))
        parts: dict[TrialPart, TrialSums | MemberFailure] = {}
        left = {member_id: {part for own in dealt for part in own if part.member_id == member_id} for member_id in ids}

        def note(part: TrialPart, answer: TrialSums | MemberFailure) -> None:
            parts[part] = checked_sums(answer, part, self._settings.trials, asked_about.shape[1:])
            left[part.member_id].discard(part)
            on_progress(sum(not missing for missing in left.values()), len(ids))

        async with self._in_flight:
            await self._ask_until_all_is_tried(asked_about, dealt, parts, note)
        answers = maps_by_member(parts, image.shape[1:])
        for member_id, answer in answers.items():
            on_answer(LEVEL, member_id, outcome_of_trials(answer))
        refuse_too_few("ASL image", answers, self._limits.least_members)
        return await asyncio.to_thread(conclude_asl, series, image, answers, self._manifest, self._settings)

    async def _ask_until_all_is_tried(
        self,
        image: SliceFrames,
        dealt: Sequence[Sequence[TrialPart]],
        parts: Mapping[TrialPart, TrialSums | MemberFailure],
        note: Callable[[TrialPart, Any], None],
    ) -> None:
        """Ask for all parts, then other shards for those that failed, within one deadline.

        Every round but the last has half of what is left: a shard that is silent leaves others the time to step in.
        """

        def ask(shard: Shard, wanted: tuple[TrialPart, ...]) -> Stream:
            return shard.sample(image, self._settings.trials, wanted)

        loop = asyncio.get_running_loop()
        end_s = loop.time() + self._limits.slice_deadline_s
        wanted, asked = [list(own) for own in dealt], [list(own) for own in dealt]
        for n_left in reversed(range(MOST_SHARDS)):
            limit_s = (end_s - loop.time()) / (2 if n_left and len(self._shards) > 1 else 1)
            if not any(wanted) or limit_s <= 0:
                return
            await ask_shards(self._shards, wanted, ask, note, round(limit_s, 3), self._on_failure)
            wanted = dealt_again(parts, asked)
            asked = [[*before, *more] for before, more in zip(asked, wanted)]
