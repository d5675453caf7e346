"""Patients in the files' headers come from the paper's Table 1."""

from __future__ import annotations

import numpy as np
import pytest

from pool.phantom.cohorts import COHORTS, draw_patient


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
