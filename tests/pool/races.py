"""Members of a race whose U_pp at every level is made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pool.answers import MemberFailure
from pool.manifest import MemberEntry, PoolManifest
from pool.moments import Moments
from pool.networks import NetworkSpec
from pool.preprocess import PreparedSlice, WayBack
from pool.race import SliceRace
from pool.race_settings import RaceLevel, RaceSettings
from pool.shapes import MYOCARDIUM
from pool.sweep import SweepSettings

IMAGE_PX = 16
SWEEP = SweepSettings(patch_px=8, stride_px=1, mask_stride_px=4)
RACE = RaceSettings((RaceLevel(9, 0.5), RaceLevel(25, 0.2)))
U_PP = Mapping[str, Mapping[int, float]]
"""By member and number of patches."""


def manifest_of(*member_ids: str) -> PoolManifest:
    """Each of a seed of its own, so that none tells of another."""
    spec = NetworkSpec(width=1, n_poolings=1)
    entries = (MemberEntry(member_id, seed, 1, 0.5, spec, "0" * 64) for seed, member_id in enumerate(member_ids))
    return PoolManifest("racers", tuple(entries))


def prepared_slice() -> PreparedSlice:
    way_back = WayBack((IMAGE_PX, IMAGE_PX), IMAGE_PX, (0.0, 0.0), (1.0, 1.0))
    frames = np.zeros((30, IMAGE_PX, IMAGE_PX), dtype=np.float32)
    return PreparedSlice("mid", frames, way_back, (8, 8), (0, 1), (0, 29))


def moments_of(u_pp: float, n_patches: int, n_myo: int = 20) -> Moments:
    """Moments whose U_pp is the given one: the variance is the same wherever two patches cover."""
    patches = SWEEP.patches(IMAGE_PX, n_patches)
    coverage = patches.coverage().astype(float)
    probability = np.zeros((3, IMAGE_PX, IMAGE_PX), dtype=np.float32)
    probability[MYOCARDIUM].flat[:n_myo] = 0.9
    variance = u_pp * max(n_myo, 1) / (coverage > 1).sum()
    return Moments(patches, probability, np.zeros_like(coverage), variance * coverage)


def run(race: SliceRace, u_pp: U_PP, failing: Mapping[tuple[str, int], str] | None = None) -> list[tuple[int, str]]:
    """Run a race to its end; returns the rounds as (patches, members)."""
    rounds: list[tuple[int, str]] = []
    while (current := race.next_round()) is not None:
        rounds.append((current.n_patches, "".join(current.member_ids)))
        for member_id in reversed(current.member_ids):
            reason = (failing or {}).get((member_id, current.n_patches))
            moments = moments_of(u_pp[member_id][current.n_patches], current.n_patches)
            race.note(member_id, MemberFailure(reason) if reason else moments)
    return rounds


def race_of(u_pp: U_PP, settings: RaceSettings = RACE, audit: bool = False) -> SliceRace:
    return SliceRace(prepared_slice(), manifest_of(*u_pp), SWEEP, replace(settings, audit=audit))
