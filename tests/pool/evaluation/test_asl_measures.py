"""Numbers of ASL images and segments, worked out by hand or against other programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pool.errors import SettingsError, StudyError
from pool.evaluation.asl import AslSummary, FlowRow, ImageRow, contrast_to_noise
from pool.evaluation.asl_flow import segment_flows
from pool.evaluation.regression import regression
from pool.phantom.asl import AslSettings, make_asl_study
from pool.phantom.presets import get_preset
from pool.trials.maps import TrialMaps


def test_regression_and_concordance_by_hand() -> None:
    x, y = np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])  # y = x + 1: correlated, not concordant
    found = regression(y, x)
    assert (found.slope, found.intercept, found.r_squared) == pytest.approx((1, 1, 1))
    assert found.concordance == pytest.approx(2 * 1.25 / (1.25 + 1.25 + 1))
    assert regression(x, x).concordance == pytest.approx(1)
    noisy = np.random.default_rng(1).normal(size=(2, 30))
    assert regression(noisy[1], noisy[0]).r_squared == pytest.approx(stats.pearsonr(*noisy).statistic ** 2)
    with pytest.raises(SettingsError, match="needs at least 3 pairs"):
        regression([1, 2], [1, 2])
    with pytest.raises(SettingsError, match="finite"):
        regression([1, 2, np.nan], [1, 2, 3])
    with pytest.raises(SettingsError, match="vary"):
        regression([1, 1, 1], [1, 2, 3])


def test_contrast_to_noise_by_hand() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[0], labels[1] = 1, 2
    pixels = np.zeros((4, 4), np.float32)
    pixels[0], pixels[1] = (1, 3, 1, 3), (6, 8, 6, 8)
    assert contrast_to_noise(pixels, labels) == pytest.approx(5 / np.sqrt(4 / 3))
    assert np.isnan(contrast_to_noise(pixels, np.zeros_like(labels)))


def answer(mask: np.ndarray) -> TrialMaps:
    zeros = np.zeros(mask.shape, np.float32)
    return TrialMaps(mask, np.stack([1 - mask, mask]).astype(np.float32), zeros, 9, 0.25, 0.5)


def test_an_image_counts_what_is_wrong() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[0], labels[1] = 1, 2
    mask = np.zeros((4, 4), bool)
    mask[0, :3] = mask[3, 3] = True
    row = ImageRow.of("7", "control", np.arange(16, dtype=np.float32).reshape(4, 4), labels, answer(mask))
    assert (row.n_false_positive, row.n_false_negative) == (1, 1)
    assert row.dice == pytest.approx(6 / 8)
    assert (row.mcd_uncertainty, row.dice_uncertainty) == (0.25, 0.5)


def test_a_summary_leaves_images_without_outline_out_of_regressions_not_of_dice() -> None:
    rows = [ImageRow(str(i), "control", 0.8 + 0.02 * i, 5, 3, 1.0 - 0.1 * i, 0.1 - 0.01 * i, 1.0 + i) for i in range(4)]
    rows += [replace(rows[0], kind="labelled", dice=0.0, mcd_uncertainty=None, contrast=float("nan"))]
    segments = [FlowRow(str(i), 7, 1.0 + i, 1.1 + i, 0.2 + 0.1 * i) for i in range(3)]
    found = AslSummary.of([*rows, replace(rows[1], kind="labelled")], segments)
    assert found.n_images == 6
    assert found.mcd_on_dice_uncertainty.n == 5
    assert found.mcd_on_dice_uncertainty.r_squared == pytest.approx(1)
    assert found.dice["labelled"][0] == pytest.approx(0.41)
    assert found.dice["all"][0] == pytest.approx((0.8 + 0.82 + 0.84 + 0.86 + 0.0 + 0.82) / 6)
    assert found.flow is not None
    assert found.flow.slope == pytest.approx(1)
    assert found.mcd_uncertainty_on_noise is not None
    assert found.mcd_uncertainty_on_noise.n == 3
    assert AslSummary.of(rows, segments[:2]).flow is None


def test_flow_under_the_same_outline_is_the_same_and_thick_outlines_change_it() -> None:
    quiet = AslSettings(noise=0.0, physiological_noise=0.0)
    study = next(
        found for seed in range(3, 9) if (found := make_asl_study(get_preset("inD"), seed, quiet)).labels.max() == 2
    )
    truth = study.labels == 1
    same = segment_flows(study, truth)
    assert [row.segment for row in same] == sorted({row.segment for row in same})
    assert {row.segment for row in same} <= set(range(7, 13))
    assert all(row.automatic == row.reference for row in same)
    thick = truth | np.roll(truth, 1, 0) | np.roll(truth, -1, 0) | np.roll(truth, 1, 1) | np.roll(truth, -1, 1)
    assert max(abs(row.automatic - row.reference) for row in segment_flows(study, thick)) > 0.05
    with pytest.raises(StudyError, match="needs an outline to measure flow in; found an empty one"):
        segment_flows(study, np.zeros_like(truth))
