"""How well the believed member did on a slice whose truth is known, beside the others of the pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pool.errors import SettingsError
from pool.evaluation.overlap import dice
from pool.selection import Selection, established_member
from pool.shapes import Mask


@dataclass(frozen=True)
class SliceDice:
    """Dice of every member on one slice."""

    name: str
    by_member: Mapping[str, float]
    """Dice by member id; 0 for a member that failed or found nothing."""
    u_pp: Mapping[str, float | None]
    """U_pp by member id; None where the member is ineligible, or left a race before it was swept in full."""
    u_pp_estimate: Mapping[str, float | None]
    """What a race measured of those that left it, by member id; None for the others."""
    chosen: str | None
    """The member that the selection rule believed."""
    established: str
    """The member with the best validation Dice, whatever the slice: the established approach."""

    @property
    def best(self) -> str:
        """The member that the truth would choose, which no rule can know: the oracle."""
        return min(self.by_member, key=lambda member_id: (-self.by_member[member_id], member_id))

    @property
    def of_chosen(self) -> float:
        """Dice of the chosen member; 0 where none was: a missing outline is a failure, never a missing value."""
        return self.by_member[self.chosen] if self.chosen is not None else 0.0

    @property
    def of_established(self) -> float:
        """Dice of the established approach."""
        return self.by_member[self.established]

    @property
    def of_best(self) -> float:
        """Dice of the best member."""
        return self.by_member[self.best]


def compare_members(name: str, selection: Selection, masks: Mapping[str, Mask], truth: Mask) -> SliceDice:
    """Dice of every member of a slice.

    Args:
        name: of the slice.
        selection: who was believed, with all scores.
        masks: each member's mask by id, on the grid of `truth`; a member without one counts 0.
        truth: the true myocardium.

    Raises:
        SettingsError: no members to compare, or a mask of another shape.
    """
    if not selection.scores:
        raise SettingsError(f"slice {name}", "needs at least one member to compare", "none")
    by_member = {
        score.member_id: dice(masks[score.member_id], truth) if score.member_id in masks else 0.0
        for score in selection.scores
    }
    u_pp = {score.member_id: None if score.ineligible else score.u_pp for score in selection.scores}
    estimates = {score.member_id: score.u_pp_estimate for score in selection.scores}
    return SliceDice(name, by_member, u_pp, estimates, selection.chosen, established_member(selection.scores).member_id)
