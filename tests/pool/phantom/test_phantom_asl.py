"""Arterial spin labelling: Buxton's model and whole studies."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pool.errors import SettingsError
from pool.phantom.asl import AslSettings, buxton_difference, make_asl_study
from pool.phantom.presets import get_preset


def value(x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


@pytest.mark.parametrize("ti", [0.4, 0.9, 2.5])
def test_buxtons_closed_form_equals_the_integral(ti: float) -> None:
    """dM = 2 M0b f integral of delivery, residue and relaxation, by the midpoint rule."""
    mbf, t1, t1b, arrival, width, efficiency = 2.0, 1.4, 1.9, 0.1, 1.5, 0.95
    n = 200_000
    t = (np.arange(n) + 0.5) * ti / n
    delivered = np.where((t > arrival) & (t < arrival + width), efficiency * np.exp(-t / t1b), 0.0)
    left = np.exp(-mbf / 60 / 0.95 * (ti - t)) * np.exp(-(ti - t) / t1)
    expected = 2 * 1.05 * mbf / 60 * float((delivered * left).sum()) * ti / n
    got = buxton_difference(*(value(v) for v in (ti, mbf, t1, t1b, arrival, width, efficiency)))
    assert float(got) == pytest.approx(expected, rel=1e-4)


def test_no_label_before_it_arrives() -> None:
    assert float(buxton_difference(*(value(v) for v in (0.05, 2.0, 1.4, 1.9, 0.1, 5.0, 1.0)))) == 0.0


def test_the_difference_shows_the_flow() -> None:
    settings = AslSettings(noise=0.0, physiological_noise=0.0, interval_variation=0.0, stress=True)
    study = make_asl_study(get_preset("exD-1"), 3, settings)
    assert study.control.shape == study.labelled.shape == (6, 96, 96)
    assert study.ti_s.shape == (6, 2)
    muscle = study.labels == 1
    blood_m0 = 1000 * np.sin(np.deg2rad(25)) * np.exp(-0.0015 / 0.047)
    difference = (study.control - study.labelled).mean(0)[muscle].mean()
    ti = study.ti_s.mean()
    simple = difference / (2 * 0.95 * blood_m0 * ti * np.exp(-ti / 1.2)) * 60 / 1.05
    assert simple == pytest.approx(study.mbf_ml_min_g[muscle].mean(), rel=0.45)  # no coil or arrival correction


def test_physiological_noise_spreads_the_pairs() -> None:
    def spread(noise: float) -> float:
        study = make_asl_study(get_preset("inD"), 4, AslSettings(physiological_noise=noise, interval_variation=0.0))
        return float((study.control - study.labelled)[:, study.labels == 1].mean(1).std())

    assert spread(0.05) > 2 * spread(0.0)


def test_studies_are_reproducible_and_refuse_nonsense() -> None:
    first, again = (make_asl_study(get_preset("inD"), 5) for _ in range(2))
    assert np.array_equal(first.control, again.control)
    with pytest.raises(SettingsError, match="ASL pairs: must lie within 1 and 64; found 0"):
        AslSettings(n_pairs=0)
    with pytest.raises(SettingsError, match="inversion efficiency: must lie above 0 and up to 1; found 1.4"):
        AslSettings(efficiency=1.4)
    with pytest.raises(SettingsError, match="seed: must not be negative"):
        make_asl_study(get_preset("inD"), -2)
