"""Parameters that no heart, reader or scanner has are refused in words, whichever field holds them."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from pool.errors import SettingsError
from pool.phantom.asl import make_asl_study
from pool.phantom.dynamics import Bolus, Flow, Motion
from pool.phantom.grid import Grid
from pool.phantom.populations import Anatomy, Reader, Surroundings
from pool.phantom.presets import PRESETS
from pool.phantom.ranges import Range
from pool.phantom.relaxation import ContrastAgent, Tissue
from pool.phantom.study import make_study

SEQUENCE = PRESETS["inD"].sequence
GROUPS = (Anatomy(), Surroundings(), Reader(), Flow(), Bolus(), Motion(), SEQUENCE)
RANGES = [(group, f.name) for group in GROUPS for f in fields(group) if isinstance(getattr(group, f.name), Range)]
NUMBERS = [(group, f.name) for group in GROUPS for f in fields(group) if type(getattr(group, f.name)) in (int, float)]


def name_of(value: object) -> str:
    return value if isinstance(value, str) else type(value).__name__


@pytest.mark.parametrize(("group", "field"), RANGES, ids=name_of)
@pytest.mark.parametrize("bad", [-1e6, 1e6])
def test_every_interval_has_limits(group: Any, field: str, bad: float) -> None:
    with pytest.raises(SettingsError, match=r"must lie within .*; found (-1e\+06|1e\+06)"):
        replace(group, **{field: Range(bad, bad)})


@pytest.mark.parametrize(("group", "field"), NUMBERS, ids=name_of)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -1, 1e9])
def test_every_number_has_limits(group: Any, field: str, bad: float) -> None:
    with pytest.raises(SettingsError, match=r"must (lie within|be) .*; found (nan|inf|-1|1e\+09|1000000000\.0)"):
        replace(group, **{field: bad})


@pytest.mark.parametrize("bounds", [(math.nan, 1.0), (1.0, math.nan), (0.0, math.inf), (-math.inf, 0.0)])
def test_intervals_are_finite(bounds: tuple[float, float]) -> None:
    with pytest.raises(SettingsError, match="parameter range: needs finite bounds in rising order"):
        Range(*bounds)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0, -1.0])
def test_physical_constants_are_positive_and_finite(bad: float) -> None:
    with pytest.raises(SettingsError, match=f"tissue blood: T2 must be positive; found {bad:g}"):
        Tissue("blood", 1.0, bad, 0.1)
    with pytest.raises(SettingsError, match=f"contrast agent x: r2 must be positive; found {bad:g}"):
        ContrastAgent("x", 5.0, bad)
    with pytest.raises(SettingsError, match="grid: needs at least 8 x 8 pixels of positive spacing"):
        Grid(16, 16, bad)


def test_no_drawn_echo_comes_after_its_repetition() -> None:
    with pytest.raises(SettingsError, match=r"echo time: .* found up to 4.5 ms with repetition times from 2 ms"):
        replace(SEQUENCE, te_ms=Range(1.0, 4.5), tr_ms=Range(2.0, 5.0))


@pytest.mark.parametrize("make", [make_study, make_asl_study])
def test_seeds_that_no_generator_takes(make: Any) -> None:
    for seed, found in ((-1, "seed: must not be negative; found -1"), (2**64, f"must be at most {2**63 - 1}; found")):
        with pytest.raises(SettingsError, match=found):
            make(PRESETS["inD"], seed)
