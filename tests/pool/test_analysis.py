from dataclasses import replace

import numpy as np
import pytest

from pool.analysis import AnalysisSettings, MemberAnswer, MemberFailure, analyse, conclude
from pool.errors import SettingsError
from pool.member import Pool
from pool.preprocess import prepare
from pool.shapes import MYOCARDIUM
from pool.sweep import SweepSettings
from tests.samples import bolus_series, tiny_pool

FAST = AnalysisSettings(sweep=SweepSettings(stride_px=16))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    tiny_pool(folder)
    return Pool.load(folder)


def test_the_least_uncertain_member_is_believed_slice_by_slice(pool: Pool) -> None:
    series = bolus_series(2)
    analysis = analyse(series, pool, FAST)
    assert [item.name for item in analysis.slices] == list(series.slice_names)
    for item in analysis.slices:
        scores = {score.member_id: score.u_pp for score in item.selection.scores}
        eligible = {member_id: u_pp for member_id, u_pp in scores.items() if u_pp is not None}
        assert item.selection.chosen == min(eligible, key=lambda member_id: eligible[member_id])
        assert np.array_equal(item.mask, item.probability >= 0.5)
        assert item.mask.shape == series.frames.shape[2:]
        assert set(item.member_masks) == {"s0-e01", "s1-e01", "s2-e01"}


def test_the_same_study_gives_the_same_numbers(pool: Pool) -> None:
    first, second = (analyse(bolus_series(), pool, FAST) for _ in range(2))
    assert np.array_equal(first.uncertainties, second.uncertainties)
    assert first.slices[0].selection == second.slices[0].selection


def test_progress_counts_every_sweep(pool: Pool) -> None:
    seen: list[tuple[int, int]] = []
    analyse(bolus_series(2), pool, FAST, lambda done, total: seen.append((done, total)))
    assert seen == [(i, 6) for i in range(1, 7)]


def test_answers_may_come_in_any_order_and_failures_are_kept(pool: Pool) -> None:
    series = bolus_series()
    prepared = prepare(series)
    maps: dict[str, MemberAnswer] = {}
    for member in reversed(pool.members):
        answer = member.analyse(prepared[0], FAST.sweep)
        assert answer is not None
        maps[member.entry.id] = answer
    whole = conclude(series, prepared, [maps], pool.manifest, FAST).slices[0]
    assert whole.selection == analyse(series, pool, FAST).slices[0].selection

    chosen = whole.selection.chosen
    assert chosen is not None
    broken = conclude(series, prepared, [{**maps, chosen: MemberFailure("shard 1 died")}], pool.manifest, FAST).slices[
        0
    ]
    assert broken.selection.chosen not in (None, chosen)
    assert broken.selection.score_of(chosen).ineligible == "shard 1 died"
    assert chosen not in broken.member_masks

    del maps[chosen]
    absent = conclude(series, prepared, [maps], pool.manifest, FAST).slices[0]
    assert absent.selection.score_of(chosen).ineligible == "gave no answer"


def test_a_slice_nobody_can_outline_has_no_answer_and_says_why(pool: Pool) -> None:
    series = bolus_series()
    item = conclude(series, prepare(series), [{}], pool.manifest, FAST).slices[0]
    assert item.selection.chosen is None
    assert item.selection.reason == "none of 3 members is eligible"
    assert not item.mask.any()
    assert np.isnan(item.uncertainty).all()
    assert item.contours is None


def test_maps_are_those_of_the_sweep_taken_to_native_pixels(pool: Pool) -> None:
    series = bolus_series()
    prepared = prepare(series)[0]
    item = analyse(series, pool, FAST).slices[0]
    member = next(m for m in pool.members if m.entry.id == item.selection.chosen)
    maps = member.analyse(prepared, FAST.sweep)
    assert maps is not None
    # Native pixel (50, 42) is four prepared pixels: its probability is their mean.
    rows, cols = ((2 * i - (prepared.way_back.origin_px[a] + 0.25) * 2, i) for a, i in ((0, 50), (1, 42)))
    r, c = int(rows[0]), int(cols[0])
    assert item.probability[50, 42] == pytest.approx(
        maps.probability[MYOCARDIUM, r : r + 2, c : c + 2].mean(), abs=1e-6
    )


def test_an_outline_too_thin_for_the_native_grid_is_not_chosen(pool: Pool) -> None:
    series = bolus_series()
    prepared = prepare(series)
    maps = pool.members[0].analyse(prepared[0], FAST.sweep)
    assert maps is not None
    probability = np.zeros_like(maps.probability)
    probability[MYOCARDIUM, 60, 60] = 1.0  # one prepared pixel is a quarter of a native one
    thin = replace(maps, probability=probability, mask=probability[MYOCARDIUM] >= 0.5, n_myo=1, u_tot=1e-9)
    item = conclude(series, prepared, [{"s0-e01": thin, "s1-e01": maps}], pool.manifest, FAST).slices[0]
    assert item.selection.chosen == "s1-e01"
    assert item.selection.score_of("s0-e01").ineligible == "the mask is empty on the native grid"


def test_a_shard_or_a_pool_elsewhere_is_refused(pool: Pool) -> None:
    with pytest.raises(SettingsError, match="pool: must hold all 3 members; found 1"):
        analyse(bolus_series(), replace(pool, members=pool.members[:1]), FAST)
    with pytest.raises(SettingsError, match="pool: must be on the device cuda; found cpu"):
        analyse(bolus_series(), pool, replace(FAST, device="cuda"))


def test_settings_have_a_hash_and_refuse_unknown_rules() -> None:
    assert AnalysisSettings().sha256() == AnalysisSettings().sha256() != AnalysisSettings(rule="min-u_tot").sha256()
    assert AnalysisSettings().sha256() != AnalysisSettings(n_threads=2).sha256()  # other last bits, other UIDs
    with pytest.raises(SettingsError, match="n_threads must be at least 1; found 0"):
        AnalysisSettings(n_threads=0)
    with pytest.raises(SettingsError, match="must be one of min-u_pp"):
        AnalysisSettings(rule="best")


def test_a_slice_of_another_length_is_refused(pool: Pool) -> None:
    from pool.preprocess import PreprocessSettings

    prepared = prepare(bolus_series(), PreprocessSettings(n_frames=20))[0]
    with pytest.raises(SettingsError, match="member s0-e01: takes 30 frames; found a slice with 20"):
        pool.members[0].analyse(prepared, FAST.sweep)


def test_weights_are_made_ready_once_and_hold_no_slice(pool: Pool) -> None:
    member, (prepared,) = pool.members[0], prepare(bolus_series())
    first, again = (member.analyse(prepared, FAST.sweep) for _ in range(2))
    assert first is not None
    assert again is not None
    assert np.array_equal(first.uncertainty, again.uncertainty)
    (kept,) = member._engines.values()
    assert member._forward(FAST.sweep)._unet is kept._unet
    assert (kept._frames, kept._buffer.numel()) == (None, 0)
