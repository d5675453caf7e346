"""Which member is believed on a slice: pure functions of the scores.

Source: Yalcinkaya et al. 2024, Methods ("Data Adaptive Uncertainty-Guided Space-time Analysis") for `min-u_pp`,
Appendix G for `min-u_tot`, "Performance Evaluation" for the established approach, here `best-validation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pool.errors import SettingsError
from pool.sweep import MemberMaps


@dataclass(frozen=True)
class MemberScore:
    """All that a rule may know of a member's answer to one slice."""

    member_id: str
    validation_dice: float
    """Myocardial Dice on the validation set, from the manifest."""
    u_pp: float | None = None
    """Mean per-pixel energy of the U-map; None where there is none."""
    u_tot: float | None = None
    """Total energy of the U-map; None where there is none."""
    n_myo: int = 0
    """Myocardial pixels of the mask."""
    ineligible: str = ""
    """Why the member cannot be chosen on this slice; empty if it can."""
    u_pp_estimate: float | None = None
    """U_pp over fewer patches, where a race left it at that; never beside `u_pp`, and not to be compared with one."""
    n_patches: int | None = None
    """How many patches are behind `u_pp` or `u_pp_estimate`; None where there are none, or nobody said."""

    @classmethod
    def from_maps(
        cls, member_id: str, validation_dice: float, maps: MemberMaps | None, failure: str = ""
    ) -> MemberScore:
        """Score of a member's maps, or of its failure to give any (`maps` None, `failure` the reason)."""
        if maps is None:
            return cls(member_id, validation_dice, ineligible=failure or "gave no answer")
        return cls.from_numbers(member_id, validation_dice, maps.u_tot, maps.n_myo)

    @classmethod
    def from_numbers(cls, member_id: str, validation_dice: float, u_tot: float, n_myo: int) -> MemberScore:
        """Score of what a member's maps came to."""
        ineligible = why_ineligible(u_tot, n_myo)
        if not math.isfinite(u_tot):
            return cls(member_id, validation_dice, n_myo=n_myo, ineligible=ineligible)
        return cls(member_id, validation_dice, u_tot / n_myo if n_myo else None, u_tot, n_myo, ineligible)


def why_ineligible(u_tot: float, n_myo: int) -> str:
    """Why a member with these values cannot be chosen; empty if it can."""
    if not math.isfinite(u_tot):
        return "the U-map is not finite"
    return "" if n_myo else "the mask is empty"


@dataclass(frozen=True)
class Selection:
    """The member believed on one slice, and everything the choice was made from."""

    rule: str
    chosen: str | None
    """Id of the believed member; None where no member could be, see `reason`."""
    reason: str
    """Why this member, or why none, in words."""
    scores: tuple[MemberScore, ...]
    """All members, by id."""

    @classmethod
    def from_result(cls, fields: Mapping[str, Any], rule: str) -> Selection:
        """The selection of one slice as `result.json` holds it; older results do not name patches."""
        scores = tuple(
            MemberScore(
                row["id"],
                row["validation_dice"],
                row["u_pp"],
                row["u_tot"],
                row["n_myo"],
                row["ineligible_reason"] or "",
                row.get("u_pp_estimate"),
                row.get("n_patches"),
            )
            for row in fields["members"]
        )
        return cls(rule, fields["chosen"], fields["reason"], scores)

    def score_of(self, member_id: str) -> MemberScore:
        """The score of one member."""
        return next(score for score in self.scores if score.member_id == member_id)


def _least(scores: Sequence[MemberScore], value: Callable[[MemberScore], float], name: str) -> tuple[str | None, str]:
    eligible = [score for score in scores if not score.ineligible]
    if not eligible:
        return None, f"none of {len(scores)} members is eligible"
    best = min(eligible, key=lambda score: (value(score), score.member_id))
    return best.member_id, f"least {name} of {len(eligible)} eligible members"


def min_u_pp(scores: Sequence[MemberScore]) -> tuple[str | None, str]:
    """The paper's rule: the eligible member with the least U_pp; ties by id."""
    return _least(scores, lambda score: score.u_pp if score.u_pp is not None else math.inf, "u_pp")


def min_u_tot(scores: Sequence[MemberScore]) -> tuple[str | None, str]:
    """Appendix G's alternative: the eligible member with the least U_tot; ties by id."""
    return _least(scores, lambda score: score.u_tot if score.u_tot is not None else math.inf, "u_tot")


def established_member(scores: Sequence[MemberScore]) -> MemberScore:
    """The member with the best validation Dice, eligible or not; ties by id."""
    return min(scores, key=lambda score: (-score.validation_dice, score.member_id))


def best_validation(scores: Sequence[MemberScore]) -> tuple[str | None, str]:
    """The established approach: the one member with the best validation Dice, whatever the slice; ties by id.

    It is fixed before any slice is seen. Where it is ineligible there is no answer: passing to the second best would
    be a data-adaptive choice under another name.
    """
    if not scores:
        return None, "the pool has no members"
    best = established_member(scores)
    if best.ineligible:
        return None, f"the member with the best validation Dice, {best.member_id}, is ineligible: {best.ineligible}"
    return best.member_id, "best validation Dice of the pool"


def least_u_pp_of_finalists(scores: Sequence[MemberScore]) -> tuple[str | None, str]:
    """How a race ends: the least U_pp of the eligible members that were swept in full; ties by id. See `pool.race`."""
    finalists = [score for score in scores if not score.ineligible and score.u_pp is not None]
    if not finalists:
        return None, f"none of {len(scores)} members is eligible"
    n_left = sum(not score.ineligible for score in scores) - len(finalists)
    chosen, _ = min_u_pp(finalists)
    return chosen, f"least u_pp of {len(finalists)} members swept in full; {n_left} left the race before"


RULES: dict[str, Callable[[Sequence[MemberScore]], tuple[str | None, str]]] = {
    "min-u_pp": min_u_pp,
    "min-u_tot": min_u_tot,
    "best-validation": best_validation,
}
"""Rules that see every member swept in full."""
RACE_RULE = "min-u_pp-race"
"""`min-u_pp` at a fraction of the work: see `pool.race`."""
SELECTION_RULES = {**RULES, RACE_RULE: least_u_pp_of_finalists}
"""All that an analysis can follow."""


def select(scores: Sequence[MemberScore], rule: str = "min-u_pp") -> Selection:
    """Apply a rule to the scores of one slice.

    Raises:
        SettingsError: an unknown rule.
    """
    if rule not in SELECTION_RULES:
        raise SettingsError("selection rule", f"must be one of {', '.join(SELECTION_RULES)}", repr(rule))
    by_id = tuple(sorted(scores, key=lambda score: score.member_id))
    chosen, reason = SELECTION_RULES[rule](by_id)
    return Selection(rule, chosen, reason, by_id)
