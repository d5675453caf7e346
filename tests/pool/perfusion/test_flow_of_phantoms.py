"""Flow of dual-bolus phantoms under true masks against the truth; `python -m pool flow-check` prints the full table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pool.errors import InconsistentStudyError, SettingsError, StudyError
from pool.evaluation.agreement import agreement
from pool.flow_check import against_truth, measure_phantom, sequence_of, true_outlines
from pool.perfusion.arterial import AIF_SERIES, PREBOLUS, SINGLE_BOLUS, AifSeries, refuse_clipped
from pool.perfusion.measure import measure_flow
from pool.perfusion.reserve import perfusion_reserve
from pool.perfusion.results import StudyFlow
from pool.perfusion.settings import FlowSettings
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.phantom.study_types import PhantomStudy
from pool.series import PerfusionSeries

SEEDS = (("inD", 1004), ("inD", 1008), ("exD-1", 1004), ("exD-1", 1009))


@pytest.fixture(scope="module")
def studies() -> list[PhantomStudy]:
    return [make_study(get_preset(name), seed, dual_bolus=True) for name, seed in SEEDS]


@pytest.fixture(scope="module")
def flows(studies: list[PhantomStudy]) -> list[StudyFlow]:
    return [measure_phantom(study) for study in studies]


def single(
    study: PhantomStudy, series: PerfusionSeries | None = None, settings: FlowSettings | None = None
) -> StudyFlow:
    return measure_flow(series or study.series, sequence_of(study.scan), true_outlines(study), settings)[0]


def test_segments_have_the_true_flow(studies: list[PhantomStudy], flows: list[StudyFlow]) -> None:
    rows = [row for study, flow in zip(studies, flows) for row in against_truth(study, flow)]
    good = [(row.mbf_ml_min_g, row.true_ml_min_g) for row in rows if row.mbf_ml_min_g is not None]
    assert len(good) >= 0.95 * len(rows) >= 57
    found = agreement(*np.array(good, dtype=float).T)
    assert abs(found.bias_percent) < 3
    assert found.limits_percent[0] > -15
    assert found.limits_percent[1] < 15
    assert found.r_squared > 0.95


def test_the_two_boluses_tell_how_saturated_the_input_was(flows: list[StudyFlow]) -> None:
    for flow in flows:
        assert flow.aif.source == PREBOLUS
        assert flow.aif.saturation < 0.7 < flow.aif.main_saturation
        assert 0 < flow.aif.unsaturated < 0.11
        assert flow.aif.dose_ratio == 10
        assert not flow.aif.clipped
        assert (flow.aif.unsaturated_from, flow.aif.doubtful) == (PREBOLUS, False)
        assert SINGLE_BOLUS not in flow.remarks


def test_maps_lie_on_the_native_grid_and_their_mean_is_that_of_the_segments(
    studies: list[PhantomStudy], flows: list[StudyFlow]
) -> None:
    study, flow = studies[2], flows[2]
    maps = flow.mbf_maps(study.series.slice_names, study.labels.shape[1:])
    assert maps.shape == study.labels.shape
    wall = study.labels == 1
    assert np.isnan(maps[~wall]).all()
    assert np.isfinite(maps[wall]).mean() > 0.9
    np.testing.assert_array_equal(flow.segment_maps(study.series.slice_names, wall.shape[1:]) > 0, wall)
    for item in flow.segments:
        shown = next(s for s in flow.slices if s.name == item.slice_name)
        mean = np.nanmean(shown.mbf[shown.segment == item.number])
        assert mean == pytest.approx(item.mbf_ml_min_g, rel=0.3)
        assert item.mbf_model_free == pytest.approx(item.mbf_ml_min_g, rel=0.5)


def test_runners_up_show_how_much_flow_depends_on_the_outline(studies: list[PhantomStudy]) -> None:
    study = studies[2]
    assert study.prebolus is not None
    wall = study.labels[1] == 1
    rivals = {1: {"same": wall, "shifted": np.roll(wall, 2, axis=1)}}
    flow, _ = measure_flow(
        study.series,
        sequence_of(study.scan),
        true_outlines(study),
        other=AifSeries(study.prebolus.series, PREBOLUS),
        runners_up=rivals,
    )
    for item in flow.segments:
        assert len(item.mbf_runners_up) in ((1, 2) if item.slice_name == "mid" else (0,))
        if item.slice_name == "mid" and item.mbf_ml_min_g is not None:
            assert any(value == pytest.approx(item.mbf_ml_min_g, abs=2e-3) for value in item.mbf_runners_up)
            low, high = item.mbf_range or (0, 0)
            assert low <= item.mbf_ml_min_g <= high


def test_reserve_is_stress_over_rest(flows: list[StudyFlow]) -> None:
    stress, rest = replace(flows[2], state="stress"), replace(flows[1], state="rest")
    found = perfusion_reserve(stress, rest)
    assert [item.number for item in found] == list(range(1, 17))
    by_number = {item.number: item for item in rest.segments}
    for item in found:
        if item.mpr is not None:
            assert item.mpr == pytest.approx((item.stress_ml_min_g or 0) / (by_number[item.number].mbf_ml_min_g or 1))
            assert item.standard_error is not None
    failed = replace(rest, segments=tuple(replace(s, mbf_ml_min_g=None, failure="moved") for s in rest.segments[:1]))
    without = perfusion_reserve(stress, failed)
    assert without[0].reason == "rest: moved"
    assert without[1].reason == "the rest study does not hold it"
    with pytest.raises(InconsistentStudyError, match="stress study must be a stress study; found rest"):
        perfusion_reserve(rest, stress)


def test_a_clipped_input_is_refused_unless_allowed(studies: list[PhantomStudy]) -> None:
    with pytest.raises(StudyError, match=r"arterial input function: no sample may lie where.*clipped.*--prebolus"):
        single(studies[0], settings=FlowSettings(unsaturated=0.2))
    held = np.array([False, True])
    assert refuse_clipped(held, FlowSettings(allow_clipped=True), "")
    assert not refuse_clipped(~held & False, FlowSettings(), "")


def test_a_single_bolus_is_read_from_the_lv_and_says_what_it_assumed(studies: list[PhantomStudy]) -> None:
    flow = single(studies[1], settings=FlowSettings(allow_clipped=True))  # a full dose saturates
    assert flow.aif.source == "lv-blood"
    assert "taken to survive" in flow.remarks[0]
    assert SINGLE_BOLUS in flow.remarks
    assert (flow.aif.unsaturated_from, flow.aif.doubtful) == ("assumed", True)


def test_a_series_of_its_own_gives_the_input(studies: list[PhantomStudy]) -> None:
    study = studies[1]
    assert study.prebolus is not None  # stands in for a low-resolution series: the same blood at a tenth of the dose
    other = AifSeries(study.prebolus.series, AIF_SERIES, sequence_of(study.scan))
    flow, _ = measure_flow(study.series, sequence_of(study.scan), true_outlines(study), other=other)
    assert flow.aif.source == AIF_SERIES
    tenth = [item.mbf_ml_min_g for item in flow.segments if item.mbf_ml_min_g is not None]
    assert not tenth or min(tenth) > 4  # ten times too little blood is ten times too much flow, or no fit at all
    with pytest.raises(SettingsError, match="input function: must be from aif-series or dual-bolus"):
        AifSeries(study.series, "guess")


def test_series_that_cannot_be_measured_are_refused_in_a_sentence(studies: list[PhantomStudy]) -> None:
    study = studies[1]
    series, allowed = study.series, FlowSettings(allow_clipped=True)
    curve = series.frames[0][:, study.labels[0] == 2].mean(axis=1)
    peak = int(curve.argmax())

    def cut(first: int, last: int) -> PerfusionSeries:
        return replace(series, frames=series.frames[:, first:last], times_s=series.times_s[:, first:last])

    with pytest.raises(StudyError, match="must show the first pass until blood has fallen to 70%"):
        single(study, cut(0, peak + 2), allowed)
    with pytest.raises(StudyError, match="needs at least 2 frames before the bolus arrives"):
        single(study, cut(peak - 3, 60), allowed)
    flat = replace(series, frames=np.full_like(series.frames, 100.0))
    with pytest.raises(StudyError, match="arterial input function"):
        single(study, flat, allowed)
    no_cavity = {0: replace(true_outlines(study)[0], left_pool=np.zeros_like(study.labels[0], dtype=bool))}
    with pytest.raises(StudyError, match="needs at least 5 pixels of LV blood; found 0"):
        measure_flow(series, sequence_of(study.scan), no_cavity, allowed)
    with pytest.raises(StudyError, match="needs an outline on at least one slice"):
        measure_flow(series, sequence_of(study.scan), {}, allowed)
    with pytest.raises(InconsistentStudyError, match="frame times must be finite and strictly rising"):
        replace(series, times_s=series.times_s[:, ::-1].copy())


def test_a_signal_that_falls_is_no_flow_but_a_reason(studies: list[PhantomStudy]) -> None:
    study = studies[1]
    assert study.prebolus is not None
    frames = study.series.frames.copy()
    wall = study.labels == 1
    for s in range(3):
        before = frames[s][:5, wall[s]].mean(axis=0)
        frames[s][:, wall[s]] = np.maximum(2 * before - frames[s][:, wall[s]], 0)
    other = AifSeries(study.prebolus.series, PREBOLUS)
    flow, _ = measure_flow(
        replace(study.series, frames=frames), sequence_of(study.scan), true_outlines(study), other=other
    )
    assert {item.failure for item in flow.segments} == {"negative concentrations: the signal falls below its baseline"}
    assert all(item.mbf_ml_min_g is None for item in flow.segments)
    assert all(np.isnan(item.mbf[item.failed]).all() for item in flow.slices)
