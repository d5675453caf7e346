"""`min-u_pp-race`: the member with the least U_pp, found without sweeping in full those that cannot be it.

All members are measured over a sweep's first patches (`pool.patch_order`), which also give every S-map. Those whose
U_pp over these is near the least one (`RaceLevel`) go on to the next patches, and so on; who is left is swept in full,
and the least U_pp among these wins. Sums are kept (`pool.moments`), so no patch is computed twice. Who is near the
least is asked anew after every round (`pool.race_rounds`): a member that had left may come back because a relative of
it turned out better than it had seemed, or because one before it failed or proved ineligible.

An estimate is no bound: U_pp over few patches is lower or higher than over all, by much the same factor for all members
of a pool, and nearly the same for those of one seed. The margins are calibrated on how far that factor varies
(`RaceSettings`), and an audit says what they cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pool.answers import MemberAnswer, MemberFailure, RacedOut, native_mask, score_answer
from pool.manifest import MemberEntry, PoolManifest
from pool.member import Pool
from pool.moments import Moments
from pool.preprocess import PreparedSlice
from pool.race_record import Audit, RaceRecord
from pool.race_rounds import next_members
from pool.race_settings import RaceSettings
from pool.selection import MemberScore, least_u_pp_of_finalists, min_u_pp
from pool.shapes import Mask
from pool.sweep import SweepSettings, maps_of


@dataclass(frozen=True)
class RaceRound:
    """Work to be done: so many of the sweep's first patches by these members."""

    n_patches: int
    member_ids: tuple[str, ...]
    """In the manifest's order."""


@dataclass(eq=False)
class _Racer:
    entry: MemberEntry
    moments: Moments | None = None
    native: Mask | None = None
    u_pp: dict[int, float] = field(default_factory=dict)
    """By number of patches."""
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
        self._prepared, self._settings = prepared, settings
        self._n_full = sweep.grid(prepared.frames.shape[1]).n_patches
        self._racers = {entry.id: _Racer(entry) for entry in manifest.of_patches}
        self._counts = (*(level.n_patches for level in settings.levels), self._n_full)
        self._round: RaceRound | None = None
        self._result: dict[str, MemberAnswer] | None = None
        self._n_members: dict[int, int] = {}
        self._n_passes_of_race = 0

    def next_round(self) -> RaceRound | None:
        """What is to be done next, less what was noted of it; None at the end. The order of answers does not matter."""
        if self._round is None or not self._round.member_ids:  # whoever goes on is known once all have answered
            self._round = self._new_round()
        return self._round

    def _new_round(self) -> RaceRound | None:
        if self._result is None:
            if (current := self._next_of_race()) is not None:
                return current
            self._result = {member_id: self._answer(racer) for member_id, racer in self._racers.items()}
            self._n_passes_of_race = self.n_passes
        if self._settings.audit:
            for n_patches in self._counts:
                if behind := tuple(racer.entry.id for racer in self._eligible if n_patches not in racer.u_pp):
                    return RaceRound(n_patches, behind)
        return None

    @property
    def _eligible(self) -> list[_Racer]:
        return [racer for racer in self._racers.values() if not (racer.failure or racer.ineligible)]

    def _next_of_race(self) -> RaceRound | None:
        racing = self._eligible
        u_pp = np.array([[racer.u_pp.get(n, np.nan) for n in self._counts] for racer in racing])
        entries = [racer.entry for racer in racing]
        todo = next_members(u_pp, self._settings.levels, entries, len(self._racers))
        return todo and RaceRound(self._counts[todo[0]], tuple(entries[i].id for i in todo[1]))

    def start_of(self, member_id: str) -> Moments | None:
        """What a member's next sweep goes on from; None for its first."""
        return self._racers[member_id].moments

    def u_pp_of(self, member_id: str, n_patches: int) -> float | None:
        """U_pp of a member over so many of the first patches, once noted; None where its mask is empty."""
        return self._racers[member_id].u_pp.get(n_patches)

    def note(self, member_id: str, answer: Moments | MemberFailure) -> None:
        """Take a member's answer of the round."""
        racer = self._racers[member_id]
        if self._round is not None:
            left = tuple(other for other in self._round.member_ids if other != member_id)
            self._round = RaceRound(self._round.n_patches, left)
        if isinstance(answer, MemberFailure):
            racer.failure = answer
            return
        n_patches = answer.patches.n_patches
        racer.moments = answer
        if self._result is None:
            self._n_members[n_patches] = self._n_members.get(n_patches, 0) + 1
        score = self._score(racer)
        measured = score.u_pp if score.u_pp is not None else score.u_pp_estimate
        racer.ineligible = bool(score.ineligible)
        if measured is not None:
            racer.u_pp[n_patches] = measured

    @property
    def n_passes(self) -> int:
        """Patch passes done so far, an audit's included."""
        return sum(self._n_patches(racer) for racer in self._racers.values())

    @property
    def n_passes_expected(self) -> int:
        """Patch passes in total, as far as they are certain: it grows when several members pass a level."""
        if self._settings.audit:
            return self.n_passes + sum(self._n_full - self._n_patches(racer) for racer in self._eligible)
        if (current := self.next_round()) is None:
            return self.n_passes
        racers = [self._racers[member_id] for member_id in current.member_ids]
        to_come = sum(current.n_patches - self._n_patches(racer) for racer in racers)
        furthest = max(current.n_patches, *map(self._n_patches, self._eligible))
        return self.n_passes + to_come + self._n_full - furthest

    def answers(self) -> dict[str, MemberAnswer]:
        """Every member's answer by id, once there is no next round: maps of those swept in full, the rest raced out."""
        assert self._result is not None
        return self._result

    def record(self) -> RaceRecord:
        """What was done, once there is no next round."""
        return RaceRecord(
            dict(sorted(self._n_members.items())),
            self._n_passes_of_race,
            len(self._racers) * self._n_full,
            self._audit() if self._settings.audit else None,
        )

    def _audit(self) -> Audit:
        answers = self.answers()
        ends = [score_answer(r.entry, answers[i], self._n_full, r.native) for i, r in self._racers.items()]
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
        return score_answer(racer.entry, answer, self._n_full, racer.native)

    def _answer(self, racer: _Racer) -> MemberAnswer:
        if racer.failure or racer.moments is None:
            return racer.failure or MemberFailure("gave no answer")
        maps = maps_of(racer.moments)
        if racer.moments.patches.is_all:
            return maps
        return RacedOut(maps.probability, maps.u_tot, maps.n_myo, racer.moments.patches.n_patches)

    def _n_patches(self, racer: _Racer) -> int:
        return racer.moments.patches.n_patches if racer.moments else 0


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
            moments = members[member_id].refine(prepared, sweep, current.n_patches, race.start_of(member_id))
            race.note(member_id, moments or MemberFailure("was stopped"))
            on_answer()
