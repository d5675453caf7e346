"""Races tried on measured U_pp run as real ones do."""

import numpy as np
import pytest

from pool.race_settings import RaceLevel, RaceSettings
from pool.race_trial import try_races
from tests.pool.races import manifest_of, race_of, run


def test_a_race_is_tried_on_numbers_worked_out_by_hand() -> None:
    """Members a to e; a and b pass the first level; b leads after 20 patches but a wins over all 100."""
    u_pp = np.array(
        [
            [[1.1, 0.9, 1.0], [1.0, 1.1, 1.1], [2.0, 0.1, 0.5], [3.0, 3.0, 3.0], [np.inf] * 3],
            [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0], [np.inf] * 3],
        ]
    )
    trial = try_races(u_pp, (10, 20, 100), manifest_of(*"abcde").members, (RaceLevel(10, 0.5), RaceLevel(20, 0.3, 1.0)))
    # slice 1: 5 x 10, then a and b: 2 x 10, both within 30 %: 2 x 80; slice 2: 5 x 10 + 10 + 80
    assert trial.times_fewer == pytest.approx(1000 / (50 + 20 + 160 + 50 + 10 + 80))
    assert trial.least_times_fewer == pytest.approx(500 / 230)
    assert (trial.same, trial.same_or_near, trial.greatest_excess) == (0.5, 0.5, pytest.approx(1.0))
    assert "2 slices: 2.7 times fewer patch passes (least 2.2), same member 50.0%" in trial.in_words()


def test_a_tried_race_is_the_one_that_would_be_run() -> None:
    counts = (9, 25, 81)
    levels = (RaceLevel(9, 0.3, 0.4, 1), RaceLevel(25, 0.15, 0.3))
    generator = np.random.default_rng(0)
    for _ in range(5):
        values = np.exp(0.15 * generator.standard_normal((10, 3)))
        u_pp = {name: dict(zip(counts, of_member.tolist())) for name, of_member in zip("abcdefghij", values)}
        race = race_of(u_pp, RaceSettings(levels), audit=True)
        run(race, u_pp)
        record, trial = race.record(), try_races(values[None], counts, manifest_of(*u_pp).members, levels)
        assert record.audit is not None
        assert trial.times_fewer == pytest.approx(record.n_passes_exhaustive / record.n_passes)
        assert trial.greatest_excess == pytest.approx(record.audit.u_pp_excess)
        assert trial.same == record.audit.same
