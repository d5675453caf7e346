"""Members of a race whose U_pp on every grid is made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pool.answers import MemberFailure
from pool.manifest import MemberEntry, PoolManifest
from pool.moments import Moments
from pool.networks import NetworkSpec
from pool.patches import PatchGrid
from pool.preprocess import PreparedSlice, WayBack
from pool.race import SliceRace
from pool.race_settings import RaceLevel, RaceSettings
from pool.shapes import MYOCARDIUM
from pool.sweep import SweepSettings

IMAGE_PX = 16
SWEEP = SweepSettings(patch_px=8, stride_px=1, mask_stride_px=4)
GRIDS = {stride_px: PatchGrid(IMAGE_PX, 8, stride_px) for stride_px in (4, 2, 1)}
RACE = RaceSettings((RaceLevel(4, 0.5), RaceLevel(2, 0.2)))
U_PP = Mapping[str, Mapping[int, float]]
"""By member and stride."""


def manifest_of(*member_ids: str) -> PoolManifest:
    spec = NetworkSpec(width=1, n_poolings=1)
    return PoolManifest("racers", tuple(MemberEntry(i, 0, 1, 0.5, spec, "0" * 64) for i in member_ids))


def prepared_slice() -> PreparedSlice:
    way_back = WayBack((IMAGE_PX, IMAGE_PX), IMAGE_PX, (0.0, 0.0), (1.0, 1.0))
    frames = np.zeros((30, IMAGE_PX, IMAGE_PX), dtype=np.float32)
    return PreparedSlice("mid", frames, way_back, (8, 8), (0, 1), (0, 29))


def moments_of(u_pp: float, stride_px: int, n_myo: int = 20) -> Moments:
    """Moments whose U_pp is the given one: the variance is the same wherever two patches cover."""
    grid = GRIDS[stride_px]
    coverage = grid.coverage().astype(float)
    probability = np.zeros((3, IMAGE_PX, IMAGE_PX), dtype=np.float32)
    probability[MYOCARDIUM].flat[:n_myo] = 0.9
    variance = u_pp * max(n_myo, 1) / (coverage > 1).sum()
    return Moments(grid, probability, np.zeros_like(coverage), variance * coverage)


def run(race: SliceRace, u_pp: U_PP, failing: Mapping[tuple[str, int], str] | None = None) -> list[tuple[int, str]]:
    """Run a race to its end; returns the rounds as (stride, members)."""
    rounds: list[tuple[int, str]] = []
    while (current := race.next_round()) is not None:
        rounds.append((current.stride_px, "".join(current.member_ids)))
        for member_id in reversed(current.member_ids):
            reason = (failing or {}).get((member_id, current.stride_px))
            moments = moments_of(u_pp[member_id][current.stride_px], current.stride_px)
            race.note(member_id, MemberFailure(reason) if reason else moments)
    return rounds


def race_of(u_pp: U_PP, settings: RaceSettings = RACE, audit: bool = False) -> SliceRace:
    return SliceRace(prepared_slice(), manifest_of(*u_pp), SWEEP, replace(settings, audit=audit))
