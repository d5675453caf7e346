"""Trials of an ASL image shared among shards: the bytes of one process, whatever dies on the way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pool.answers import MemberFailure
from pool.asl.analysis import AslAnalysis, AslAnalysisSettings, analyse_asl
from pool.asl.result import maps_of
from pool.asl.series import AslSeries
from pool.errors import PoolFolderError, SettingsError
from pool.manifest import PoolManifest, save_manifest
from pool.member import Pool
from pool.shapes import SliceFrames
from pool.trials.settings import TrialSettings
from pool.trials.sums import TrialSums
from serve.errors import TooFewMembersError
from serve.shards.fan_out import ShardGoneError
from serve.shards.limits import SelectorLimits
from serve.shards.members import ShardWorker
from serve.shards.selector import Selector
from serve.shards.trial_parts import TrialPart, checked_sums, dealt_again, dealt_parts, maps_by_member
from tests.asl_samples import N_TRIALS, mixed_pool, write_asl_npz
from tests.serve.fakes import SETTINGS, FakeShard, manifest_of

TRIALS = TrialSettings(N_TRIALS)
ASL = AslAnalysisSettings(TRIALS)


@pytest.fixture(scope="module")
def pool_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    mixed_pool(folder)
    return folder


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> AslSeries:
    return AslSeries.load(write_asl_npz(tmp_path_factory.mktemp("asl") / "study.npz"))


@pytest.fixture(scope="module")
def expected(pool_dir: Path, series: AslSeries) -> AslAnalysis:
    before = torch.get_num_threads()
    found = analyse_asl(series, Pool.load(pool_dir), ASL)
    torch.set_num_threads(before)
    return found


class SamplingShard(FakeShard):
    """A real worker; fails where it is told to, after so many answers of a call."""

    def __init__(
        self, worker: ShardWorker, failures: Sequence[Exception | None] = (), ends_after: int = 0, broken: str = ""
    ) -> None:
        super().__init__(failures=failures, ends_after=ends_after)
        self.worker, self.broken = worker, broken
        self.asked: list[tuple[TrialPart, ...]] = []

    async def sample(
        self, image: SliceFrames, settings: TrialSettings, parts: Sequence[TrialPart]
    ) -> AsyncGenerator[tuple[TrialPart, TrialSums | MemberFailure], None]:
        self.asked.append(tuple(parts))
        failure, n_answers = self.failures.pop(0) if self.failures else None, 0
        frozen = image.copy()
        frozen.flags.writeable = False  # as from the object store
        async for part, answer in self.worker.sample(frozen, settings, parts):
            if failure is not None and n_answers >= self.ends_after:
                raise failure
            n_answers += 1
            yield part, MemberFailure("raised X") if part.member_id == self.broken else answer


def workers(pool_dir: Path, n_shards: int) -> list[ShardWorker]:
    sha256 = PoolManifest.load(pool_dir).sha256()
    before = torch.get_num_threads()
    found = [ShardWorker(pool_dir, sha256, k, n_shards, n_threads=1) for k in range(n_shards)]
    torch.set_num_threads(before)
    return found


def selector_over(pool_dir: Path, shards: Sequence[FakeShard], least_members: int = 99) -> Selector:
    limits = SelectorLimits(60, 0.05, 2, least_members)
    return Selector(PoolManifest.load(pool_dir), shards, SETTINGS, limits, lambda _: None, asl_settings=ASL)


def same(found: AslAnalysis, expected: AslAnalysis) -> bool:
    mine, theirs = maps_of(found), maps_of(expected)
    equal = [np.array_equal(mine[name], theirs[name], equal_nan=True) for name in theirs]
    return mine.keys() == theirs.keys() and all(equal) and found.to_dict() == expected.to_dict()


def test_every_block_is_dealt_once_and_to_all_shards() -> None:
    dealt = dealt_parts(["a", "b"], TrialSettings(1115), 3)
    for member_id in ("a", "b"):
        blocks = [block for own in dealt for part in own if part.member_id == member_id for block in part.blocks]
        assert sorted(blocks) == list(range(112))
    assert {len(part.blocks) for own in dealt for part in own} <= set(range(1, 11))
    assert [sum(len(part.blocks) for part in own) for own in dealt] == [76, 74, 74]
    assert dealt_parts(["a"], TrialSettings(10), 3) == [[TrialPart("a", (0,))], [], []]


@pytest.mark.parametrize("n_shards", [1, 3])
def test_any_number_of_shards_gives_the_bytes_of_one_process(
    n_shards: int, pool_dir: Path, series: AslSeries, expected: AslAnalysis
) -> None:
    shards = [SamplingShard(worker) for worker in workers(pool_dir, n_shards)]
    progress: list[tuple[int, int]] = []
    answers: list[tuple[str, str, Any]] = []
    selector = selector_over(pool_dir, shards)
    found = asyncio.run(selector.analyse_asl(series, lambda *n: progress.append(n), lambda *told: answers.append(told)))
    assert expected.selection.chosen == "prob-unet"
    assert same(found, expected)
    assert progress[-1] == (2, 2)
    assert [(slice_name, member) for slice_name, member, _ in answers] == [("mid", "mcd-unet"), ("mid", "prob-unet")]
    assert answers[1][2] == {"mcd_uncertainty": found.mcd_uncertainty}
    assert [len(shard.asked) for shard in shards] == [1] * n_shards


def test_what_a_dead_shard_owes_another_computes(
    pool_dir: Path, series: AslSeries, expected: AslAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = fast_deaths(monkeypatch)
    first, second = workers(pool_dir, 2)
    dead, alive = SamplingShard(first, died), SamplingShard(second)
    assert same(asyncio.run(selector_over(pool_dir, [dead, alive]).analyse_asl(series)), expected)
    assert [len(parts) for parts in alive.asked] == [2, 2]
    back = SamplingShard(first, died[:1], ends_after=1)  # dies once: asked again about what is missing only
    assert same(asyncio.run(selector_over(pool_dir, [back, SamplingShard(second)]).analyse_asl(series)), expected)
    assert [len(parts) for parts in back.asked] == [2, 1]


def test_a_member_that_fails_everywhere_is_a_score_with_its_reason(pool_dir: Path, series: AslSeries) -> None:
    shards = [SamplingShard(worker, broken="prob-unet") for worker in workers(pool_dir, 2)]
    found = asyncio.run(selector_over(pool_dir, shards, least_members=1).analyse_asl(series))
    assert found.selection.chosen == "mcd-unet"
    assert found.selection.score_of("prob-unet").ineligible == "raised X"
    assert found.n_absent == 1
    with pytest.raises(TooFewMembersError, match="ASL image: needs the answers of at least 2 of 2 members; found 1; "):
        asyncio.run(selector_over(pool_dir, shards).analyse_asl(series))


def test_pools_of_one_kind_refuse_the_other_kind_of_study(pool_dir: Path, series: AslSeries, tmp_path: Path) -> None:
    limits = SelectorLimits(60, 0.05, 2, 1)
    patches = Selector(manifest_of(2), [FakeShard()], SETTINGS, limits, lambda _: None)
    with pytest.raises(SettingsError, match="pool fake: needs members of trials for ASL; found patches alone"):
        asyncio.run(patches.analyse_asl(series))
    trials = replace(PoolManifest.load(pool_dir), members=PoolManifest.load(pool_dir).of_trials)
    with pytest.raises(SettingsError, match="pool mixed: needs members that sweep patches; found trials alone"):
        asyncio.run(Selector(trials, [FakeShard()], SETTINGS, limits, lambda _: None).analyse(None, []))  # type: ignore[arg-type]


def test_a_shard_holds_its_members_of_patches_and_all_of_trials(pool_dir: Path) -> None:
    assert [worker.loaded() for worker in workers(pool_dir, 2)] == [
        ("s0-e01", "mcd-unet", "prob-unet"),
        ("s1-e01", "mcd-unet", "prob-unet"),
    ]


def test_weights_of_trials_that_are_of_no_use_keep_a_shard_from_starting(tmp_path: Path) -> None:
    from pool.weights import load_weights, save_weights

    manifest = mixed_pool(tmp_path)
    entry = manifest.of_trials[0]
    weights = load_weights(tmp_path, entry)
    weights = {name: t * torch.nan if t.is_floating_point() else t for name, t in weights.items()}
    spoilt = replace(entry, weights_sha256=save_weights(tmp_path, entry.id, weights))
    save_manifest(tmp_path, replace(manifest, members=(*manifest.of_patches, spoilt)))
    with pytest.raises(PoolFolderError, match="member mcd-unet: must give finite probabilities; found others on noise"):
        workers(tmp_path, 1)


def test_sums_that_were_not_asked_for_are_a_failure(pool_dir: Path, series: AslSeries) -> None:
    (worker,) = workers(pool_dir, 1)
    part = TrialPart("mcd-unet", (0, 1))
    image = np.zeros((1, 32, 32), np.float32)

    async def answer_to(asked: TrialPart) -> TrialSums | MemberFailure:
        (answer,) = [answer async for _, answer in worker.sample(image, TRIALS, [asked])]
        return answer

    sums = asyncio.run(answer_to(part))
    assert checked_sums(sums, part, TRIALS, (32, 32)) is sums
    for answer, asked, shape, reason in (
        ("nonsense", part, (32, 32), "answered with str instead of sums over trials"),
        (sums, TrialPart("mcd-unet", (0,)), (32, 32), "answered with 2 blocks of trials, others than it was asked for"),
        (sums, part, (8, 8), r"answered with sums of shape (32, 32) for an image of (8, 8)"),
    ):
        found = checked_sums(answer, asked, TRIALS, shape)  # type: ignore[arg-type]
        assert isinstance(found, MemberFailure)
        assert found.reason == reason
    incomplete = maps_by_member({part: sums}, (32, 32))["mcd-unet"]
    assert isinstance(incomplete, MemberFailure)
    assert incomplete.reason == "gave 20 of its trials"


GONE = MemberFailure("gone")


def test_a_part_that_failed_goes_to_a_sound_shard_an_idle_one_or_at_last_any_other() -> None:
    first, second, third = (TrialPart("m", (block,)) for block in range(3))
    sums: Any = TrialSums
    assert dealt_again({first: GONE, second: sums, third: sums}, [[first], [second], [third]]) == [[], [first], []]
    assert dealt_again({first: GONE}, [[first], [], []]) == [[], [first], []]
    assert dealt_again({first: GONE, second: GONE}, [[first], [second], []]) == [[], [], [first, second]]
    assert dealt_again({first: GONE, second: GONE}, [[first], [second]]) == [[second], [first]]
    tried = [[first], [first], [first], []]
    assert dealt_again({first: GONE}, tried) == [[], [], [], []]  # by then it is the member's own fault
    other = TrialPart("other", (0,))
    assert dealt_again({first: GONE, other: sums}, [[first, other], []]) == [[], [first]]


def fast_deaths(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    monkeypatch.setattr("serve.shards.fan_out.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("serve.shards.fan_out.LONGEST_PAUSE_S", 0.001)
    return [ShardGoneError("the shard died")] * 99


def test_a_second_takeover_and_an_idle_shard(
    pool_dir: Path, series: AslSeries, expected: AslAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = fast_deaths(monkeypatch)
    real = workers(pool_dir, 1)[0]
    dies_taking_over = SamplingShard(real, [None, *died])
    shards = [SamplingShard(real, died), dies_taking_over, SamplingShard(real)]
    assert same(asyncio.run(selector_over(pool_dir, shards).analyse_asl(series)), expected)
    few = AslAnalysisSettings(TrialSettings(N_TRIALS, batch_size=N_TRIALS))  # one block: two shards have nothing to do
    limits = SelectorLimits(60, 0.05, 2, 99)
    busy, idle = SamplingShard(real, died), SamplingShard(real)
    manifest = PoolManifest.load(pool_dir)
    selector = Selector(manifest, [busy, idle], SETTINGS, limits, lambda _: None, asl_settings=few)
    found = asyncio.run(selector.analyse_asl(series))
    assert found.selection.chosen == expected.selection.chosen
    assert [len(parts) for parts in idle.asked] == [2]


class HangingSampler(SamplingShard):
    """Takes every question and never answers."""

    async def sample(
        self, image: SliceFrames, settings: TrialSettings, parts: Sequence[TrialPart]
    ) -> AsyncGenerator[tuple[TrialPart, TrialSums | MemberFailure], None]:
        self.asked.append(tuple(parts))
        await asyncio.sleep(60)
        yield parts[0], MemberFailure("late")


def selector_with_deadline(pool_dir: Path, shards: Sequence[FakeShard], deadline_s: float) -> Selector:
    limits = SelectorLimits(deadline_s, 0.05, 2, 99)
    return Selector(PoolManifest.load(pool_dir), shards, SETTINGS, limits, lambda _: None, asl_settings=ASL)


def test_all_rounds_share_one_deadline(pool_dir: Path, series: AslSeries) -> None:
    shards = [HangingSampler(workers(pool_dir, 1)[0]) for _ in range(3)]
    started = time.monotonic()
    with pytest.raises(TooFewMembersError, match="no answer within 0"):
        asyncio.run(selector_with_deadline(pool_dir, shards, 0.4).analyse_asl(series))
    assert time.monotonic() - started < 4
    assert [len(shard.asked) for shard in shards] == [3, 3, 3]


def test_a_silent_shard_leaves_another_the_time_to_step_in(
    pool_dir: Path, series: AslSeries, expected: AslAnalysis
) -> None:
    real = workers(pool_dir, 1)[0]
    silent, sound = HangingSampler(real), SamplingShard(real)
    assert same(asyncio.run(selector_with_deadline(pool_dir, [silent, sound], 20).analyse_asl(series)), expected)
    assert [len(silent.asked), len(sound.asked)] == [1, 2]


def test_an_image_of_any_size_is_padded_and_its_maps_are_cut(pool_dir: Path, series: AslSeries) -> None:
    cut = replace(
        series,
        control=series.control[:, :30, :29],
        labelled=series.labelled[:, :30, :29],
        baseline=None if series.baseline is None else series.baseline[:30, :29],
    )
    found = asyncio.run(selector_over(pool_dir, [SamplingShard(workers(pool_dir, 1)[0])]).analyse_asl(cut))
    assert found.mask.shape == found.uncertainty.shape == found.outlined.shape == (30, 29)
    before = torch.get_num_threads()
    assert same(found, analyse_asl(cut, Pool.load(pool_dir), ASL))
    torch.set_num_threads(before)
    chosen = found.answers[found.selection.chosen or ""]
    assert chosen.mcd_uncertainty == pytest.approx(chosen.uncertainty.sum() / chosen.mask.sum(), rel=1e-5)


def test_the_result_is_json(pool_dir: Path, expected: AslAnalysis) -> None:
    fields = json.loads(json.dumps(expected.to_dict(), allow_nan=False))
    assert fields["pool"]["n_members"] == 4
    assert fields["settings"]["trials"]["n_trials"] == N_TRIALS
    assert fields["flow"][0]["name"] == "myocardium"
    assert fields["field_t"] == 3.0
