"""The patients of the paper's three data sets (Yalcinkaya et al. 2024, Table 1), and those of phantom files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Cohort:
    """Characteristics of a data set's subjects."""

    n_subjects: int
    """Subjects."""
    female_share: float
    """Share of women."""
    age_years: tuple[float, float]
    """Mean and standard deviation [years]."""
    bmi_kg_m2: tuple[float, float]
    """Body mass index, mean and standard deviation [kg/m^2]."""
    healthy_share: float
    """Share of healthy controls."""
    ischaemia_share: float
    """Prevalence of ischaemia. The `Flow` of the 3 T preset follows it: a heart with a defect."""
    lge_share: float
    """Prevalence of late enhancement. The `Flow` of the 3 T preset follows it: a heart with an infarct."""


COHORTS: dict[str, Cohort] = {
    "inD": Cohort(95, 86 / 95, (57.3, 11.4), (27.4, 6.2), 10 / 95, 49 / 95, 3 / 95),
    "exD-1": Cohort(40, 0.25, (60.1, 14.3), (30.3, 5.6), 0.0, 0.425, 0.5),
    "exD-2": Cohort(15, 1 / 15, (66.0, 9.8), (29.0, 5.28), 0.0, 14 / 15, 13 / 15),
}
"""By preset; `inD` pools the paper's training, validation and test subjects."""
ANYONE = Cohort(0, 0.5, (60.0, 14.0), (28.0, 6.0), 0.0, 0.5, 0.15)
"""Patients of the other presets; no data set."""
AGE_LIMITS_YEARS, BMI_LIMITS = (18, 89), (16.0, 50.0)
HEIGHT_M = {"F": (1.62, 0.07), "M": (1.75, 0.07)}
"""Mean and standard deviation [m]; the paper gives none."""


@dataclass(frozen=True)
class Patient:
    """Who a phantom study pretends to be of."""

    sex: str
    """`F` or `M`."""
    age_years: int
    """Whole years."""
    height_m: float
    """Height [m]."""
    weight_kg: float
    """Body weight [kg]: by height and body mass index, not the weight that set the dose."""


def draw_patient(preset_name: str, seed: int) -> Patient:
    """The patient of a study, from numbers of its own: pixels and truth do not depend on it.

    Args:
        preset_name: preset; a variant `inD-1.5T` draws from the cohort of `inD`.
        seed: the study's.
    """
    cohort = COHORTS.get(preset_name.removesuffix("-1.5T"), ANYONE)
    digest = hashlib.sha256(f"patient {preset_name}:{seed}".encode()).digest()
    numbers = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    sex = "F" if numbers.random() < cohort.female_share else "M"
    age = int(np.clip(round(numbers.normal(*cohort.age_years)), *AGE_LIMITS_YEARS))
    bmi = float(np.clip(numbers.normal(*cohort.bmi_kg_m2), *BMI_LIMITS))
    height_m = round(float(numbers.normal(*HEIGHT_M[sex])), 2)
    return Patient(sex, age, height_m, round(bmi * height_m**2, 1))
