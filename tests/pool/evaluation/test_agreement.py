"""Regression, correlation and limits of agreement by hand and by scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pool.errors import SettingsError
from pool.evaluation.agreement import agreement


def test_numbers_by_hand() -> None:
    found = agreement(np.array([1.1, 2.2, 3.3]), np.array([1.0, 2.0, 3.0]))
    assert (found.slope, found.intercept, found.r_squared) == pytest.approx((1.1, 0.0, 1.0))
    assert found.bias == pytest.approx(0.2)
    assert found.limits == pytest.approx((0.2 - 0.196, 0.2 + 0.196))
    assert found.bias_percent == pytest.approx(10)
    assert found.limits_percent == pytest.approx((10, 10))


def test_correlation_is_scipys() -> None:
    rng = np.random.default_rng(1)
    reference = rng.uniform(0.5, 4, 50)
    measured = reference + rng.normal(0, 0.3, 50)
    found, theirs = agreement(measured, reference), stats.pearsonr(measured, reference)
    assert (found.pearson_r, found.p_value) == pytest.approx((theirs.statistic, theirs.pvalue))


@pytest.mark.parametrize(
    ("measured", "reference", "text"),
    [
        ([1, 2], [1, 2], "at least 3 pairs"),
        ([1, 2, 3], [1, 2], "at least 3 pairs"),
        ([1, 2, float("nan")], [1, 2, 3], "finite values and a positive reference"),
        ([1, 2, 3], [0, 2, 3], "finite values and a positive reference"),
        ([1, 2, 3], [2, 2, 2], "values that vary"),
    ],
)
def test_what_cannot_be_compared_is_refused(measured: list[float], reference: list[float], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        agreement(np.array(measured, float), np.array(reference, float))
