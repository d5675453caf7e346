"""What an answer comes to in a few numbers, for those who watch a study."""

from __future__ import annotations

from pool.answers import MemberAnswer, MemberFailure
from pool.race import SliceRace
from pool.sweep import MemberMaps
from pool.trials.maps import TrialMaps

Outcome = dict[str, str | float | int | None]
"""`u_pp`, or `u_pp_estimate` with its `n_patches`, or `mcd_uncertainty`, or `failure`."""


def outcome_of(answer: MemberAnswer) -> Outcome:
    """Of a member's maps, or of its failure."""
    if isinstance(answer, MemberFailure):
        return {"failure": answer.reason}
    return {"u_pp": answer.u_pp if isinstance(answer, MemberMaps) else None}


def outcome_in_race(race: SliceRace, member_id: str, n_patches: int, answer: object) -> Outcome:
    """Of a member's part of a round, once the race has noted it."""
    if isinstance(answer, MemberFailure):
        return {"failure": answer.reason}
    return {"u_pp_estimate": race.u_pp_of(member_id, n_patches), "n_patches": n_patches}


def outcome_of_trials(answer: TrialMaps | MemberFailure) -> Outcome:
    """Of a member's trials about an ASL image."""
    if isinstance(answer, MemberFailure):
        return {"failure": answer.reason}
    return {"mcd_uncertainty": answer.mcd_uncertainty}
