"""`min-u_pp-race`: the member with the least U_pp, found without sweeping in full those that cannot be it.

All members are measured on a coarse grid, which also gives every S-map. Those whose U_pp there is near the least one
(`RaceLevel`) go on to the next grid, and so on; who is left is swept in full, and the least U_pp among these wins.
Grids are nested and sums are kept (`pool.moments`), so no patch is computed twice. A member that fails or proves
ineligible on the way is taken out, and who is near the least is asked anew: members that had left may come back.

An estimate is no bound: U_pp over few patches is lower or higher than over all, by much the same factor for all members
of a pool. The margins are calibrated on how far that factor varies (`RaceSettings`), and an audit says what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pool.answers import MemberAnswer, MemberFailure, RacedOut, native_mask, score_answer
from pool.manifest import MemberEntry, PoolManifest
from pool.member import Pool
from pool.moments import Moments
from pool.patches import PatchGrid
from pool.preprocess import PreparedSlice
from pool.race_settings import RaceSettings
from pool.selection import MemberScore, least_u_pp_of_finalists, min_u_pp
from pool.shapes import Mask
from pool.sweep import SweepSettings, maps_of


@dataclass(frozen=True)
class RaceRound:
    """Work to be done: these members on this grid."""

    stride_px: int
    member_ids: tuple[str, ...]
    """In the manifest's order."""


@dataclass(frozen=True)
class Audit:
    """What sweeping every eligible member in full would have chosen."""

    chosen: str | None
    """By `min-u_pp` over all members."""
    same: bool
    """Whether the race chose it too."""
    u_pp: float | None
    """The least U_pp of all."""
    u_pp_excess: float | None
    """By how much the raced winner's U_pp is greater, as a share; 0 where it is the same member."""

    def in_words(self) -> str:
        """The audit as a sentence's rest."""
        if self.same:
            return "full sweeps of all members choose the same"
        return f"full sweeps of all members choose {self.chosen} with U_pp {self.u_pp:.4f}"


@dataclass(frozen=True)
class RaceRecord:
    """What a race did on one slice."""

    n_members: dict[int, int]
    """Members measured, by stride, from coarse to fine."""
    n_passes: int
    """Patch passes of the race; those of an audit are not counted."""
    n_passes_exhaustive: int
    """Patch passes of as many full sweeps as the pool has members."""
    audit: Audit | None
    """None where none was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        levels = [{"stride_px": stride_px, "n_members": n} for stride_px, n in self.n_members.items()]
        return {
            "levels": levels,
            "n_passes": self.n_passes,
            "n_passes_exhaustive": self.n_passes_exhaustive,
            "audit": asdict(self.audit) if self.audit else None,
        }


@dataclass(eq=False)
class _Racer:
    entry: MemberEntry
    moments: Moments | None = None
    native: Mask | None = None
    u_pp: dict[int, float] = field(default_factory=dict)
    """By stride."""
    ineligible: bool = False
    failure: MemberFailure | None = None


class SliceRace:
    """The race on one slice; whoever runs it asks for a round, sweeps, notes the answers, and asks again.

    Args:
        prepared: the slice.
        manifest: of the whole pool.
        sweep: of a full sweep.
        settings: of the race; they fit the sweep.
    """

    def __init__(
        self, prepared: PreparedSlice, manifest: PoolManifest, sweep: SweepSettings, settings: RaceSettings
    ) -> None:
        self._prepared, self._sweep, self._settings = prepared, sweep, settings
        self._racers = {entry.id: _Racer(entry) for entry in manifest.members}
        self._result: dict[str, MemberAnswer] | None = None
        self._n_members: dict[int, int] = {}

    def next_round(self) -> RaceRound | None:
        """What is to be done next, less what was noted of it; None at the end. The order of answers does not matter."""
        everyone = [racer for racer in self._racers.values() if not (racer.failure or racer.ineligible)]
        if self._result is None:
            racing = everyone
            for level in self._settings.levels:
                if behind := self._behind(racing, level.stride_px):
                    return behind
                if racing:
                    limit = level.limit([racer.u_pp[level.stride_px] for racer in racing], len(self._racers))
                    racing = [racer for racer in racing if racer.u_pp[level.stride_px] <= limit]
            if behind := self._behind(racing, self._sweep.stride_px):
                return behind
            self._result = {member_id: self._answer(racer) for member_id, racer in self._racers.items()}
        if self._settings.audit:
            for stride_px in (*(level.stride_px for level in self._settings.levels), self._sweep.stride_px):
                if behind := self._behind(everyone, stride_px):
                    return behind
        return None

    def start_of(self, member_id: str) -> Moments | None:
        """What a member's next sweep goes on from; None for its first."""
        return self._racers[member_id].moments

    def note(self, member_id: str, answer: Moments | MemberFailure) -> None:
        """Take a member's answer of the round."""
        racer = self._racers[member_id]
        if isinstance(answer, MemberFailure):
            racer.failure = answer
            return
        stride_px = answer.grid.stride_px
        racer.moments = answer
        if self._result is None:
            self._n_members[stride_px] = self._n_members.get(stride_px, 0) + 1
        score = self._score(racer)
        measured = score.u_pp if score.u_pp is not None else score.u_pp_estimate
        racer.ineligible = bool(score.ineligible)
        if measured is not None:
            racer.u_pp[stride_px] = measured

    @property
    def n_passes(self) -> int:
        """Patch passes done so far, an audit's included."""
        return sum(self._n_patches(racer) for racer in self._racers.values())

    @property
    def n_passes_expected(self) -> int:
        """Patch passes in total, as far as they are certain: it grows when several members pass a level."""
        everyone = [racer for racer in self._racers.values() if not (racer.failure or racer.ineligible)]
        n_full = self._grid(self._sweep.stride_px).n_patches
        if self._settings.audit:
            return self.n_passes + sum(n_full - self._n_patches(racer) for racer in everyone)
        if (current := self.next_round()) is None:
            return self.n_passes
        n_level = self._grid(current.stride_px).n_patches
        to_come = sum(n_level - self._n_patches(self._racers[member_id]) for member_id in current.member_ids)
        return self.n_passes + to_come + n_full - n_level

    def answers(self) -> dict[str, MemberAnswer]:
        """Every member's answer by id, once there is no next round: maps of those swept in full, the rest raced out."""
        assert self._result is not None
        return self._result

    def record(self) -> RaceRecord:
        """What was done, once there is no next round."""
        n_patches = {stride_px: self._grid(stride_px).n_patches for stride_px in self._n_members}
        n_before = dict(zip(n_patches, [0, *n_patches.values()]))
        return RaceRecord(
            self._n_members,
            sum(n * (n_patches[stride_px] - n_before[stride_px]) for stride_px, n in self._n_members.items()),
            len(self._racers) * self._grid(self._sweep.stride_px).n_patches,
            self._audit() if self._settings.audit else None,
        )

    def _audit(self) -> Audit:
        answers = self.answers()
        ends = [score_answer(r.entry, answers[i], self._sweep.stride_px, r.native) for i, r in self._racers.items()]
        raced, _ = least_u_pp_of_finalists(ends)
        every = [self._score(racer) for racer in self._racers.values()]
        best, _ = min_u_pp(every)
        u_pp = {score.member_id: score.u_pp for score in every}
        least, found = (u_pp[member_id] if member_id is not None else None for member_id in (best, raced))
        same = raced == best
        excess = 0.0 if same else found / least - 1 if found is not None and least else None
        return Audit(best, same, least, excess)

    def _score(self, racer: _Racer) -> MemberScore:
        answer = racer.failure or self._answer(racer)
        if racer.native is None and not isinstance(answer, MemberFailure):
            racer.native = native_mask(answer, self._prepared.way_back)
        return score_answer(racer.entry, answer, self._sweep.stride_px, racer.native)

    def _answer(self, racer: _Racer) -> MemberAnswer:
        if racer.failure or racer.moments is None:
            return racer.failure or MemberFailure("gave no answer")
        maps = maps_of(racer.moments)
        stride_px = racer.moments.grid.stride_px
        if stride_px == self._sweep.stride_px:
            return maps
        return RacedOut(maps.probability, maps.u_tot, maps.n_myo, stride_px)

    def _behind(self, racers: Sequence[_Racer], stride_px: int) -> RaceRound | None:
        ids = tuple(racer.entry.id for racer in racers if stride_px not in racer.u_pp)
        return RaceRound(stride_px, ids) if ids else None

    def _n_patches(self, racer: _Racer) -> int:
        return racer.moments.grid.n_patches if racer.moments else 0

    def _grid(self, stride_px: int) -> PatchGrid:
        return PatchGrid(self._prepared.frames.shape[1], self._sweep.patch_px, stride_px)


def run_race(
    race: SliceRace,
    prepared: PreparedSlice,
    pool: Pool,
    sweep: SweepSettings,
    on_answer: Callable[[], None] = lambda: None,
) -> None:
    """Run a slice's race to its end in this process, one member after the other.

    Args:
        race: of the slice.
        prepared: the slice.
        pool: all members.
        sweep: of a full sweep.
        on_answer: called after every member's part of a round.
    """
    members = {member.entry.id: member for member in pool.members}
    while (current := race.next_round()) is not None:
        for member_id in current.member_ids:
            moments = members[member_id].refine(prepared, sweep, current.stride_px, race.start_of(member_id))
            race.note(member_id, moments or MemberFailure("was stopped"))
            on_answer()
