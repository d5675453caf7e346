"""Signal of a concentration and back: against the phantom's physics, dcmri, and by hand."""

from __future__ import annotations

from dataclasses import replace

import dcmri
import numpy as np
import pytest
import torch

from pool.errors import SettingsError, StudyError
from pool.perfusion.sequence import AGENTS, BLOOD, MYOCARDIUM, SequenceValues, table_field_t
from pool.perfusion.signal import SignalTable, relative_m0_signal
from pool.phantom.signal import sr_bssfp_signal, sr_flash_signal

FLASH = SequenceValues("flash", 0.1, 12.0, 0.0025, 0.0009, 3.0, 20)
BSSFP = replace(FLASH, readout="bssfp", flip_deg=30.0)
AGENT = AGENTS[3.0]["gadobutrol"]


@pytest.mark.parametrize("unsaturated", [0.0, 0.07, 1.0])
def test_both_readouts_have_the_phantoms_signal(unsaturated: float) -> None:
    concentration = np.linspace(0, 12, 30)
    tissue = MYOCARDIUM[3.0]

    def exact(value: float | np.ndarray) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64)

    t1, t2, t2_star = (
        exact(1 / (1 / t + r * concentration))
        for t, r in ((tissue.t1_s, AGENT.r1), (tissue.t2_s, AGENT.r2), (tissue.t2_star_s, AGENT.r2_star))
    )
    for values, signal, transverse in ((FLASH, sr_flash_signal, t2_star), (BSSFP, sr_bssfp_signal, t2)):
        timing = [exact(v) for v in (values.ti_s, np.deg2rad(values.flip_deg), values.tr_s, values.te_s, 20.0)]
        theirs = signal(t1, transverse, *timing, unsaturated).numpy()
        ours = relative_m0_signal(concentration, tissue, AGENT, values, unsaturated)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_saturation_recovery_without_pulses_before_the_centre_is_that_of_dcmri() -> None:
    concentration = np.linspace(0, 3, 9)
    plain = replace(FLASH, n_pulses_before=0, te_s=1e-4)
    rate = 1 / BLOOD[3.0].t1_s + AGENT.r1 * concentration
    ours = relative_m0_signal(concentration, BLOOD[3.0], AGENT, plain, 0.0)
    decay = np.exp(-1e-4 * (1 / BLOOD[3.0].t2_star_s + AGENT.r2_star * concentration))
    theirs = dcmri.signal_src(np.sin(np.deg2rad(12.0)), rate, plain.ti_s)
    np.testing.assert_allclose(ours / decay, theirs, rtol=1e-9)
    back = dcmri.conc_src(theirs, plain.ti_s, BLOOD[3.0].t1_s, r1=AGENT.r1, n0=1)
    np.testing.assert_allclose(back, concentration, atol=1e-9)


def test_readout_train_is_that_of_dcmri() -> None:
    rate = 1 / MYOCARDIUM[3.0].t1_s + AGENT.r1 * np.linspace(0, 3, 9)
    train = FLASH.n_pulses_before * FLASH.tr_s
    theirs = dcmri.signal_spgr(1.0, rate, train, FLASH.tr_s, FLASH.flip_deg, TP=FLASH.ti_s - train)
    ours = relative_m0_signal(np.linspace(0, 3, 9), MYOCARDIUM[3.0], AGENT, replace(FLASH, te_s=1e-4), 0.0)
    decay = np.exp(-1e-4 * (1 / MYOCARDIUM[3.0].t2_star_s + AGENT.r2_star * np.linspace(0, 3, 9)))
    np.testing.assert_allclose(ours / decay, theirs, rtol=2e-3)


@pytest.mark.parametrize("values", [FLASH, BSSFP])
def test_a_concentration_survives_the_way_to_signal_and_back(values: SequenceValues) -> None:
    table = SignalTable.of(MYOCARDIUM[3.0], AGENT, values, 0.05)
    concentration = np.array([0.0, 0.01, 0.3, 1.0, 2.5])
    back, held = table.concentration(table.relative(concentration))
    np.testing.assert_allclose(back, concentration, atol=1e-6)
    assert not held.any()
    below, _ = table.concentration(np.array([0.9]))
    assert below[0] < 0  # noise below the baseline stays negative, on the tangent
    assert table.relative(below)[0] == pytest.approx(0.9, abs=1e-9)


def test_signals_beyond_what_can_be_told_are_held_and_marked() -> None:
    table = SignalTable.of(BLOOD[3.0], AGENT, FLASH, 0.0)
    highest = table.signal[-1] / table.baseline
    concentration, held = table.concentration(np.array([2.0, 0.999 * highest, 2 * highest]))
    assert held.tolist() == [False, True, True]
    assert concentration[1] == concentration[2]
    assert table.saturation(1.0) == 0
    assert table.saturation(highest) == pytest.approx(1)


def test_impossible_sequences_are_refused_in_words() -> None:
    with pytest.raises(SettingsError, match="repetition time: must lie within 0.0005 and 0.02 s; found 0.17 s"):
        replace(FLASH, tr_s=0.17)
    with pytest.raises(SettingsError, match="must fit into the saturation time; found 60 x 2.5 ms in 100 ms"):
        replace(FLASH, n_pulses_before=60)
    with pytest.raises(SettingsError, match="readout must be flash or bssfp"):
        replace(FLASH, readout="epi")
    with pytest.raises(SettingsError, match="tabulated for 1.5 and 3 T; found 7 T"):
        table_field_t(7.0)
    assert not issubclass(SettingsError, StudyError)
