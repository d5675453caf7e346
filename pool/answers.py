"""What a member may answer about a slice, and how a selection rule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pool.manifest import MemberEntry, PoolManifest
from pool.preprocess import WayBack
from pool.selection import MemberScore, why_ineligible
from pool.shapes import MYOCARDIUM, Mask, Probability
from pool.strays import without_strays
from pool.sweep import MASK_THRESHOLD, MemberMaps


@dataclass(frozen=True)
class MemberFailure:
    """A member that gave no maps, as a value: a failure is never a lost exception."""

    reason: str


@dataclass(frozen=True, eq=False)
class RacedOut:
    """A member that left a race before its sweep was full: it has a mask like any other, but no U-map and no U_pp."""

    probability: Probability
    """Mean softmax probability over the stride-16 patches; final."""
    u_tot_estimate: float
    """U_tot over the patches alone that it had swept."""
    n_myo: int
    """Myocardial pixels of its mask."""
    n_patches: int
    """How many patches it had swept."""

    @property
    def u_pp_estimate(self) -> float | None:
        """U_pp over the patches alone that it had swept; None for an empty mask."""
        return self.u_tot_estimate / self.n_myo if self.n_myo else None


MemberAnswer = MemberMaps | RacedOut | MemberFailure


def native_mask(answer: MemberMaps | RacedOut, way_back: WayBack) -> Mask:
    """A member's mask on the native grid, without strays."""
    return without_strays(way_back.to_native(answer.probability[MYOCARDIUM]) >= MASK_THRESHOLD)


def score_answer(entry: MemberEntry, answer: MemberAnswer, n_patches: int, native: Mask | None) -> MemberScore:
    """What a selection rule may know of an answer.

    Args:
        entry: the member.
        answer: its maps, or why there are none.
        n_patches: of a full sweep.
        native: its mask on the native grid; None where the member failed.
    """
    common = (entry.id, entry.validation_dice)
    if isinstance(answer, MemberFailure):
        return MemberScore.from_maps(*common, None, answer.reason)
    if isinstance(answer, RacedOut):
        why = why_ineligible(answer.u_tot_estimate, answer.n_myo)
        estimate = None if why else answer.u_pp_estimate
        score = MemberScore(
            *common, n_myo=answer.n_myo, ineligible=why, u_pp_estimate=estimate, n_patches=answer.n_patches
        )
    else:
        score = replace(MemberScore.from_maps(*common, answer), n_patches=n_patches)
    if not score.ineligible and (native is None or not native.any()):
        return replace(score, ineligible="the mask is empty on the native grid")
    return score


def score_members(
    answers: Mapping[str, MemberAnswer], manifest: PoolManifest, n_patches: int, native_masks: Mapping[str, Mask]
) -> list[MemberScore]:
    """One score for every member of the manifest that sweeps patches, in its order; one that is absent failed, it "gave
    no answer".

    Args:
        answers: by member id.
        manifest: of the whole pool.
        n_patches: of a full sweep.
        native_masks: see `native_mask`, by id, of all members that did not fail.
    """
    absent = MemberFailure("gave no answer")
    return [
        score_answer(entry, answers.get(entry.id, absent), n_patches, native_masks.get(entry.id))
        for entry in manifest.of_patches
    ]
