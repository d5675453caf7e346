"""Patients in the files' headers come from the paper's Table 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pool.phantom.cohorts import COHORTS, draw_patient
from pool.phantom.defects import draw_flow, flow_maps
from pool.phantom.grid import Grid
from pool.phantom.heart import draw_hearts, render_heart
from pool.phantom.presets import get_preset
from pool.phantom.ranges import Draws


@pytest.mark.parametrize("name", list(COHORTS))
def test_many_patients_look_like_their_cohort(name: str) -> None:
    cohort = COHORTS[name]
    patients = [draw_patient(name, seed) for seed in range(2000)]
    assert np.mean([p.sex == "F" for p in patients]) == pytest.approx(cohort.female_share, abs=0.04)
    ages = [p.age_years for p in patients]
    assert (np.mean(ages), np.std(ages)) == pytest.approx(cohort.age_years, abs=1.0)
    assert np.mean([p.weight_kg / p.height_m**2 for p in patients]) == pytest.approx(cohort.bmi_kg_m2[0], abs=0.6)


def test_a_patient_depends_on_preset_and_seed_alone() -> None:
    assert draw_patient("inD", 4) == draw_patient("inD", 4)
    assert len({draw_patient("exD-1", seed) for seed in range(20)}) == 20
    assert draw_patient("broad", 1).sex in ("F", "M")


@pytest.mark.parametrize("name", COHORTS)
def test_as_many_hearts_of_a_preset_have_an_infarct_as_patients_late_enhancement(name: str) -> None:
    n_subjects, preset, grid = 300, get_preset(name), Grid(32, 32, 3.0)
    draws = Draws(torch.Generator().manual_seed(5), n_subjects)
    shape = draw_hearts(draws, preset.anatomy)
    x_mm, y_mm = grid.coordinates_mm(torch.zeros(draws.n_slices), torch.zeros(draws.n_slices))
    maps = render_heart(draws, shape, grid, x_mm, y_mm)
    _, scar = flow_maps(draws, preset.flow, draw_flow(draws, preset.flow), grid, maps)
    n_ill = int((scar.amax((1, 2)).view(n_subjects, 3).amax(1) > 0.2).sum())
    share = COHORTS[name].lge_share
    assert n_ill == pytest.approx(share * n_subjects, abs=3 * (share * (1 - share) * n_subjects) ** 0.5)
