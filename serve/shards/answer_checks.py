"""Answers as they come from a shard: a wrong one is a failure of its member, before it is taken for a result."""

from __future__ import annotations

from collections.abc import Mapping

from pool.answers import MemberAnswer, MemberFailure
from pool.moments import Moments
from pool.preprocess import PreparedSlice
from pool.sweep import MemberMaps, SweepSettings
from serve.errors import TooFewMembersError


def checked_maps(answer: MemberAnswer, prepared: PreparedSlice) -> MemberAnswer:
    """The answer, or a failure where its maps do not fit the slice."""
    if isinstance(answer, MemberFailure):
        return answer
    if not isinstance(answer, MemberMaps):
        return MemberFailure(f"answered with {type(answer).__name__} instead of maps")
    shapes = {
        "mask": answer.mask.shape,
        "uncertainty": answer.uncertainty.shape,
        "probability": answer.probability.shape[1:],
    }
    return _misfit(shapes, prepared) or answer


def checked_moments(
    answer: Moments | MemberFailure, prepared: PreparedSlice, sweep: SweepSettings, n_patches: int
) -> Moments | MemberFailure:
    """The answer, or a failure where its sums are not those of the patches that were asked for."""
    if isinstance(answer, MemberFailure):
        return answer
    if not isinstance(answer, Moments):
        return MemberFailure(f"answered with {type(answer).__name__} instead of moments")
    if answer.patches != sweep.patches(prepared.frames.shape[1], n_patches):
        found = f"{answer.patches.n_patches} patches of stride {answer.patches.grid.stride_px}"
        return MemberFailure(f"answered with moments of {found} instead of {n_patches} of {sweep.stride_px}")
    shapes = {
        "sum": answer.p_sum.shape,
        "sum of squares": answer.p2_sum.shape,
        "probability": answer.probability.shape[1:],
    }
    return _misfit(shapes, prepared) or answer


def refuse_too_few(subject: str, answers: Mapping[str, object], least_members: int) -> None:
    """Refuse a result that rests on fewer members than it must.

    Args:
        subject: what they were asked about.
        answers: of all who were asked, by id.
        least_members: fewest that must have answered; where fewer were asked, all of them.

    Raises:
        TooFewMembersError: too few answered.
    """
    failures = {key: answer.reason for key, answer in sorted(answers.items()) if isinstance(answer, MemberFailure)}
    least, n_answers = min(least_members, len(answers)), len(answers) - len(failures)
    if n_answers < least:
        member_id, reason = next(iter(failures.items()))
        raise TooFewMembersError(
            subject,
            f"needs the answers of at least {least} of {len(answers)} members",
            f"{n_answers}; member {member_id}: {reason}",
            "Send the study again, or lower least_members.",
        )


def _misfit(shapes: dict[str, tuple[int, ...]], prepared: PreparedSlice) -> MemberFailure | None:
    image = prepared.frames.shape[1:]
    for name, shape in shapes.items():
        if shape != image:
            return MemberFailure(f"answered with a {name} of shape {shape} for a slice of {image}")
    return None
