"""Who is measured next: relatives tell of each other, strangers do not."""

import numpy as np
import pytest

from pool.manifest import MemberEntry
from pool.networks import NetworkSpec
from pool.race_rounds import NEIGHBOURS_ALIKE, NUGGET, estimates, kinship, next_members
from pool.race_settings import RaceLevel

NAN = float("nan")


def members_of(*seeds_and_epochs: tuple[int, int]) -> list[MemberEntry]:
    spec = NetworkSpec(width=1, n_poolings=1)
    return [MemberEntry(f"s{s}-e{e}", s, e, 0.5, spec, "0" * 64) for s, e in seeds_and_epochs]


def test_kinship_counts_checkpoints_within_a_seed() -> None:
    alike = kinship(members_of((1, 20), (2, 5), (1, 5), (1, 11)))
    once, twice = NEIGHBOURS_ALIKE, NEIGHBOURS_ALIKE**2
    assert alike == pytest.approx(
        np.array([[1, 0, twice, once], [0, 1, 0, 0], [twice, 0, 1, once], [once, 0, once, 1]])
    )


def test_a_member_is_carried_by_what_its_relatives_saw() -> None:
    """Two of three seeds are measured further: they rise by 0.3 and 0.1, which is 0.2 on average."""
    alike = kinship(members_of((1, 1), (1, 2), (2, 1), (3, 1)))
    log_u_pp = np.array([[0.0, 0.3], [1.0, NAN], [2.0, 2.1], [3.0, NAN]])
    trust = NEIGHBOURS_ALIKE / (1 + NUGGET)
    assert estimates(log_u_pp, alike) == pytest.approx([0.3, 1.2 + 0.1 * trust, 2.1, 3.2])
    assert estimates(log_u_pp[:, :1], alike) == pytest.approx([0, 1, 2, 3])


def test_strangers_change_no_order() -> None:
    alike = kinship(members_of(*((seed, 1) for seed in range(5))))
    log_u_pp = np.array([[0.0, 0.5], [0.1, 0.3], [0.2, NAN], [0.3, NAN], [0.9, NAN]])
    assert np.diff(estimates(log_u_pp, alike)[2:]) == pytest.approx([0.1, 0.6])


LEVELS = (RaceLevel(41, 0.5, 0.4, of_seed=1), RaceLevel(73, 0.1, 0.4))


def test_the_best_of_every_seed_goes_on_too() -> None:
    members = members_of((1, 1), (1, 2), (2, 1), (2, 2), (3, 1))
    u_pp = np.full((5, 3), NAN)
    assert next_members(u_pp, LEVELS, members, 5) == (0, [0, 1, 2, 3, 4])
    u_pp[:, 0] = (1.0, 1.1, 2.0, 1.9, 2.3)
    assert next_members(u_pp, LEVELS, members, 5) == (1, [0, 1, 3])  # the third seed's is above 1.5 squared
    assert next_members(np.empty((0, 3)), LEVELS, [], 5) is None


def test_a_relative_of_one_that_proved_better_comes_back_and_catches_up() -> None:
    members = members_of((1, 1), (1, 2), (2, 1), (2, 2))
    u_pp = np.array([[1.0, 1.2, NAN], [1.05, 1.26, NAN], [1.3, 0.9, NAN], [1.35, NAN, NAN]])
    first = next_members(u_pp, LEVELS, members, 4)
    assert first == (1, [3])  # as its relative fell by a third, it is expected at 0.95 or so, before both of the others
    u_pp[3, 1] = 0.95
    assert next_members(u_pp, LEVELS, members, 4) == (2, [2, 3])
    u_pp[3, 1] = 1.4
    assert next_members(u_pp, LEVELS, members, 4) == (2, [2])
    u_pp[2, 2] = 1.0
    assert next_members(u_pp, LEVELS, members, 4) is None
