"""Scores against the number of trials."""

from __future__ import annotations

import numpy as np
import pytest

from pool.errors import SettingsError
from pool.trials.bootstrap import trials_curve
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import DropoutSampler
from pool.trials.settings import TrialSettings
from tests.pool.trials.networks import image, untrained_mcd


def reference() -> np.ndarray:
    return np.indices((32, 32)).sum(0) > 32


def test_the_spread_of_scores_falls_with_the_number_of_trials_as_its_root() -> None:
    sampler, settings = DropoutSampler(untrained_mcd()), TrialSettings(n_trials=120, seed=1, batch_size=20)
    found = trials_curve(sampler, image(), reference(), settings, (5, 20, 80), 200)
    assert found.n_all == 120
    for sd in (found.mcd_sd, found.dice_sd):
        assert sd[0] > sd[1] > sd[2]
        assert sd[1] / sd[2] == pytest.approx(2, rel=0.35)
    for mean in (found.mcd_mean, found.dice_mean):
        assert mean[0] < mean[2]  # few trials underestimate a standard deviation
        assert mean[2] == pytest.approx(1, abs=0.05)


def test_resampling_a_single_trial_is_no_uncertainty_and_nothing_uncertain_is_refused() -> None:
    settings = TrialSettings(n_trials=10, batch_size=10)
    found = trials_curve(DropoutSampler(untrained_mcd()), image(), reference(), settings, (1,), 4)
    assert found.mcd_mean == pytest.approx((0.0,), abs=1e-3)
    with pytest.raises(SettingsError, match="needs an image with a mask and some uncertainty"):
        trials_curve(DropoutSampler(untrained_mcd(), 0.0), image(), reference(), settings, (5,), 4)
    with pytest.raises(SettingsError, match="needs numbers of trials"):
        trials_curve(DropoutSampler(untrained_mcd()), image(), reference(), settings, (), 4)


def test_scores_are_related_to_those_of_the_maps() -> None:
    sampler, settings = DropoutSampler(untrained_mcd()), TrialSettings(n_trials=40, seed=2, batch_size=20)
    sums = run_trials(sampler, image(), settings, reference=reference())
    assert sums is not None
    whole = TrialMaps.of(sums)
    found = trials_curve(sampler, image(), reference(), settings, (4000,), 2)
    assert whole.mcd_uncertainty
    assert found.mcd_mean[0] == pytest.approx(1, abs=0.02)
