"""The race against a far wider one, where full sweeps of all members would take too long.

The wide race lets on whoever is within several times the distance from which a winner was ever seen to come back: over
the 120 slices whose members were all swept in full (`benchmarks/race-measures-bfloat16.npz`), the winner was at most
36 % above the least U_pp over 41 patches, 22 % over 73, 14 % over 153, 9 % over 289 and 6 % over 577. What it chooses
stands for the choice of full sweeps. Both races share every patch pass; slices that are done are kept, line by line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pool.answers import MemberFailure
from pool.bench.analysed_study import prepared_slice
from pool.bench.race_measuring import NamedSlice
from pool.manifest import PoolManifest
from pool.member import Pool
from pool.moments import Moments
from pool.race import SliceRace
from pool.race_rounds import LEAST_U_PP
from pool.race_settings import RaceLevel, RaceSettings
from pool.race_trial import RaceTrial
from pool.sweep import MemberMaps, SweepSettings

WIDE = RaceSettings(
    (RaceLevel(41, 0.6), RaceLevel(73, 0.36), RaceLevel(153, 0.21), RaceLevel(289, 0.13), RaceLevel(577, 0.09))
)
"""Margins half as wide again as what any winner needed, and no bound on how many pass."""


@dataclass(frozen=True)
class AgainstWide:
    """One slice."""

    slice_name: str
    slice_sha256: str
    """Of its frames, 24 hexadecimal digits."""
    chosen: str
    """By the race."""
    expected: str
    """By the wide race; like `chosen` empty where no member is eligible."""
    u_pp: float
    """Of the chosen member."""
    least_u_pp: float
    """Of the expected one."""
    n_passes: int
    """Patch passes of the race."""
    n_passes_wide: int
    """Patch passes of the wide race."""


def key_of(
    manifest: PoolManifest, sweep: SweepSettings, race: RaceSettings | None = None, wide: RaceSettings = WIDE
) -> str:
    """What results rest on, in 12 hexadecimal digits: those of others are not to be mixed with them."""
    facts = [manifest.sha256(), asdict(sweep), asdict(race or RaceSettings()), asdict(wide)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def race_against_wide(
    pool: Pool,
    slices: Sequence[NamedSlice],
    sweep: SweepSettings,
    keep: Path,
    race: RaceSettings | None = None,
    wide: RaceSettings = WIDE,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> list[AgainstWide]:
    """Run both races on every slice.

    Args:
        pool: all members.
        slices: names and prepared slices.
        sweep: of a full sweep, in its data type.
        keep: file of JSON lines; slices that are in it already are not run again.
        race: default `RaceSettings()`.
        wide: what it is held against.
        on_progress: called with (slices done, slices in total).
    """
    kept = read_lines(keep)
    whole = keep.with_suffix(".partial")  # without the line that a killed run left unfinished
    whole.write_text("".join(map(_line, kept)), encoding="utf-8")
    whole.replace(keep)
    done = {item.slice_name: item for item in kept}
    for number, (name, frames) in enumerate(slices, 1):
        if name not in done or done[name].slice_sha256 != _sha256(frames):
            done[name] = _run_both(name, frames, pool, sweep, race or RaceSettings(), wide)
            with keep.open("a", encoding="utf-8") as file:
                file.write(_line(done[name]))
        on_progress(number, len(slices))
    return [done[name] for name, _ in slices]


def read_lines(path: Path) -> list[AgainstWide]:
    """What an earlier run kept; nothing where there is no such file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [AgainstWide(**json.loads(line)) for line in lines if line.endswith("}")]


def _sha256(frames: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()[:24]


def _line(item: AgainstWide) -> str:
    return json.dumps(asdict(item)) + "\n"


def as_trial(found: Sequence[AgainstWide], n_members: int, n_full: int) -> RaceTrial:
    """The races in the words of those that are held against full sweeps.

    Where a race has found a lesser U_pp than the wide one, it counts as having found the least.

    Args:
        found: one a slice.
        n_members: of the pool.
        n_full: patches of a full sweep.
    """
    chosen = [item for item in found if item.expected]
    excess = [item.u_pp / max(item.least_u_pp, LEAST_U_PP) - 1 for item in chosen]
    return RaceTrial.of(excess, [item.n_passes for item in chosen], n_members * n_full)


def _run_both(
    name: str, frames: np.ndarray, pool: Pool, sweep: SweepSettings, race: RaceSettings, wide: RaceSettings
) -> AgainstWide:
    prepared = prepared_slice(name, frames)
    members = {member.entry.id: member for member in pool.of_patches}
    known: dict[tuple[str, int], Moments | MemberFailure] = {}

    def run(settings: RaceSettings) -> tuple[str, float, int]:
        running = SliceRace(prepared, pool.manifest, sweep, settings)
        while (current := running.next_round()) is not None:
            for member_id in current.member_ids:
                key = (member_id, current.n_patches)
                if key not in known:
                    start = running.start_of(member_id)
                    found = members[member_id].refine(prepared, sweep, current.n_patches, start)
                    known[key] = found or MemberFailure("was stopped")
                running.note(member_id, known[key])
        u_pp = {i: answer.u_pp for i, answer in running.answers().items() if isinstance(answer, MemberMaps)}
        finalists = sorted((value, member_id) for member_id, value in u_pp.items() if value is not None)
        value, member_id = finalists[0] if finalists else (0.0, "")
        return member_id, value, running.n_passes

    chosen, u_pp, n_passes = run(race)
    expected, least, n_passes_wide = run(wide)
    return AgainstWide(name, _sha256(frames), chosen, expected, u_pp, least, n_passes, n_passes_wide)
