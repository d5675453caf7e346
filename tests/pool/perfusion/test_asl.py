"""Flow by arterial spin labelling: Buxton's model against the phantom's, and studies of known flow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pool.errors import InconsistentStudyError, NonFiniteError, SettingsError, StudyError
from pool.perfusion.asl import AslFlow, AslValues, measure_asl, relative_difference
from pool.phantom.asl import AslSettings, AslStudy, buxton_difference, make_asl_study
from pool.phantom.presets import get_preset

FLOWS = np.array([0.3, 1.0, 2.5, 4.0])


def study(seed: int = 3, **settings: float) -> AslStudy:
    return make_asl_study(get_preset("inD"), seed, AslSettings(**settings))


def whole(found: AslStudy) -> np.ndarray:
    return (found.labels == 1) & (found.anatomical_labels == 1)


def test_difference_is_the_phantoms_before_during_and_after_the_label() -> None:
    values = AslValues(arrival_s=0.3, width_s=0.6)
    t1_blood, t1_muscle = values.t1_s
    for ti in (0.2, 0.7, 1.5):
        args = (FLOWS, t1_muscle, t1_blood, 0.3, 0.6, 0.95)
        theirs = buxton_difference(torch.tensor(ti), *(torch.as_tensor(v, dtype=torch.float64) for v in args))
        np.testing.assert_allclose(relative_difference(FLOWS, np.array(ti), values), theirs.numpy(), rtol=1e-5)


def test_a_short_label_brings_its_volume() -> None:
    values = AslValues(arrival_s=0.0, width_s=0.05, efficiency=1.0, t1_blood_s=4.0, t1_myocardium_s=4.0)
    found = relative_difference(np.array([1.0]), np.array([0.05]), values)
    assert found[0] == pytest.approx(2 * 1.05 / 60 * 0.05, rel=0.02)  # 2 rho F w, hardly any relaxation


def test_flow_of_a_quiet_study_is_the_truth() -> None:
    quiet = study(noise=0.0, physiological_noise=0.0)
    found = measure_asl(quiet.control, quiet.labelled, quiet.baseline, quiet.ti_s, [whole(quiet)])
    truth = float(quiet.mbf_ml_min_g[whole(quiet)].mean())
    assert found.mbf_ml_min_g[0] == pytest.approx(truth, rel=0.12, abs=0.08)


def test_physiological_noise_is_the_spread_of_the_pairs() -> None:
    flow = AslFlow(np.array([[1.0, 1.2, 0.8, 1.0, 1.1, 0.9]]))
    assert flow.physiological_noise[0] == pytest.approx(np.sqrt(0.1 / 5))
    assert np.isnan(AslFlow(np.ones((1, 1))).physiological_noise).all()
    quiet, loud = (
        measure_asl(s.control, s.labelled, s.baseline, s.ti_s, [whole(s)]).physiological_noise[0]
        for s in (study(physiological_noise=0.0, noise=0.0), study(physiological_noise=0.01))
    )
    assert loud > 2 * quiet


def test_values_near_the_end_of_float32_give_the_same_flow() -> None:
    quiet = study(noise=0.0, physiological_noise=0.0)
    mask, scale = whole(quiet), np.float32(1e38 / np.abs(quiet.baseline).max())
    wanted, huge = (
        measure_asl(s * quiet.control, s * quiet.labelled, s * quiet.baseline, quiet.ti_s, [mask]).pair_mbf
        for s in (np.float32(1), scale)
    )
    np.testing.assert_allclose(huge, wanted, rtol=1e-4)


def test_bad_studies_are_refused_in_a_sentence() -> None:
    good = study()
    mask = whole(good)
    arguments = (good.control, good.labelled, good.baseline, good.ti_s, [mask])
    with pytest.raises(InconsistentStudyError, match="as many labelled as control images"):
        measure_asl(good.control[:2], *arguments[1:])
    with pytest.raises(InconsistentStudyError, match="positive inversion time"):
        measure_asl(*arguments[:3], -good.ti_s, [mask])
    with pytest.raises(NonFiniteError, match="finite number"):
        measure_asl(good.control * np.nan, *arguments[1:])
    with pytest.raises(StudyError, match="at least one region, none of them empty"):
        measure_asl(*arguments[:4], [np.zeros_like(mask)])
    with pytest.raises(StudyError, match="ASL region 1: needs a positive baseline signal"):
        measure_asl(good.control, good.labelled, 0 * good.baseline, good.ti_s, [mask])
    with pytest.raises(SettingsError, match="inversion efficiency: must lie within 0.3 and 1"):
        replace(AslValues(), efficiency=0.1)
