"""What a race does next, as a pure function of the U_pp known so far: `pool.race` runs it, `pool.race_trial` tries it.

U_pp over few patches is wrong by much the same factor for members that are alike: checkpoints of one seed. So what is
learned of a member by going on tells of its relatives too. Members are compared by estimates at the highest level that
any has reached; one that has not is carried there by the change that its relatives saw,

    estimate_i = log U_pp_i(l) + mean + k_i' (K + nugget)^-1 (d - mean),   d_j = log U_pp_j(l + 1) - log U_pp_j(l)

with K the `kinship` of the members that were measured at both levels and `mean` their generalised mean: ordinary
kriging (Cressie 1993, Statistics for Spatial Data, 3.2), with relatives for neighbours. Measured on 120 phantom slices
and the 50 members that ship, the errors of U_pp over 41 to 105 patches correlate by 0.89 between neighbouring
checkpoints, and not at all between seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pool.manifest import MemberEntry
from pool.race_settings import RaceLevel

NEIGHBOURS_ALIKE = 0.88
"""Correlation of the errors of two neighbouring checkpoints of a seed."""
NUGGET = 0.06
"""Variance that a member shares with nobody, as a share of the whole."""
LEAST_U_PP = 1e-12
"""Taken for those below, whose logarithm says nothing."""


def kinship(members: Sequence[MemberEntry]) -> np.ndarray:
    """How alike members' errors are: `member member`, a power of the checkpoints between two of a seed, 0 otherwise."""
    seeds = np.array([entry.seed for entry in members])
    rank = np.zeros(len(members))
    for seed in set(seeds.tolist()):
        of_seed = np.flatnonzero(seeds == seed)
        epochs = [entry.epoch for entry in members if entry.seed == seed]
        rank[of_seed] = np.argsort(np.argsort(epochs, kind="stable"), kind="stable")
    alike = NEIGHBOURS_ALIKE ** np.abs(rank[:, None] - rank)
    return np.where(seeds[:, None] == seeds, alike, 0.0)


def estimates(log_u_pp: np.ndarray, alike: np.ndarray) -> np.ndarray:
    """Log of U_pp at the last level, by member: measured, or carried there.

    Args:
        log_u_pp: `member level`, NaN where not measured; every member is measured at the first level, and at a later
            one only after all before.
        alike: see `kinship`.
    """
    known = np.isfinite(log_u_pp)
    result = log_u_pp[:, 0].copy()
    for level in range(1, log_u_pp.shape[1]):
        here = known[:, level]
        if not here.any():
            continue
        change = log_u_pp[here, level] - log_u_pp[here, level - 1]
        inverse = np.linalg.inv(alike[np.ix_(here, here)] + NUGGET * np.eye(int(here.sum())))
        mean = (inverse @ change).sum() / inverse.sum()
        carried = mean + alike[np.ix_(~here, here)] @ (inverse @ (change - mean))
        result[here] = log_u_pp[here, level]
        result[~here] += carried
    return result


def next_members(
    u_pp: np.ndarray, levels: Sequence[RaceLevel], members: Sequence[MemberEntry], n_members: int
) -> tuple[int, list[int]] | None:
    """Who is to be measured next and up to which level; None when the race is run.

    Args:
        u_pp: of the members in the race, `member level`, NaN where not measured; the level after the last of `levels`
            is the full sweep.
        levels: of the race.
        members: these.
        n_members: of the whole pool.

    Returns:
        Number of the level, and which members.
    """
    if not members:
        return None
    log_u_pp = np.log(np.maximum(u_pp, LEAST_U_PP))
    known = np.isfinite(log_u_pp)
    if not known[:, 0].all():
        return 0, np.flatnonzero(~known[:, 0]).tolist()
    alike, seeds = kinship(members), np.array([entry.seed for entry in members])
    for number, level in enumerate(levels):
        passing = level.passing(estimates(log_u_pp[:, : number + 1], alike), seeds, n_members)
        for wanted in range(1, number + 2):  # who comes back catches up level by level, and is asked anew after each
            if (behind := passing & ~known[:, wanted]).any():
                return wanted, np.flatnonzero(behind).tolist()
    return None
