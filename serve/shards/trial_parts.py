"""How an image's trials are shared: every shard holds all members of trials, and computes some of their blocks.

Sums over blocks merge exactly (`pool.trials.sums`), so that it does not matter which shard computed which, and another
can give what one of them cannot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pool.answers import MemberFailure
from pool.trials.maps import TrialMaps
from pool.trials.settings import TrialSettings
from pool.trials.sums import TrialSums, merge

MOST_BLOCKS = 10
"""Of one part: what a shard that dies loses at most."""
MOST_SHARDS = 3
"""So many shards are asked for one part."""


@dataclass(frozen=True)
class TrialPart:
    """Some blocks of a member's trials, computed and answered as one."""

    member_id: str
    blocks: tuple[int, ...]


def dealt_parts(member_ids: Sequence[str], settings: TrialSettings, n_shards: int) -> list[list[TrialPart]]:
    """All blocks of some members, by the shard that is to compute them: the n-th of every n, for each member.

    Args:
        member_ids: the members.
        settings: of the trials of every member.
        n_shards: shards to deal to.
    """
    by_shard: list[list[TrialPart]] = []
    for shard in range(n_shards):
        own = settings.blocks_of(shard, n_shards)
        cuts = [tuple(own[first : first + MOST_BLOCKS]) for first in range(0, len(own), MOST_BLOCKS)]
        by_shard.append([TrialPart(member_id, blocks) for member_id in member_ids for blocks in cuts])
    return by_shard


def dealt_again(
    parts: Mapping[TrialPart, TrialSums | MemberFailure], asked: Sequence[Sequence[TrialPart]]
) -> list[list[TrialPart]]:
    """The parts that failed, by a shard that was not asked for them yet; empty where there is nothing left to try.

    Shards that failed at nothing of the member come first, those with least to do before others. A part is asked for
    `MOST_SHARDS` times at most: what fails everywhere is the member's own fault.

    Args:
        parts: the answers.
        asked: which shard was ever asked for which.
    """
    failed = {part for part, answer in parts.items() if isinstance(answer, MemberFailure)}
    again: list[list[TrialPart]] = [[] for _ in asked]
    for part in sorted(failed, key=lambda part: (part.member_id, part.blocks)):
        fresh = [shard for shard, own in enumerate(asked) if part not in own]
        if not fresh or len(asked) - len(fresh) >= MOST_SHARDS:
            continue
        unsound = {k for k, own in enumerate(asked) if any(o in failed and o.member_id == part.member_id for o in own)}
        again[min(fresh, key=lambda shard: (shard in unsound, len(again[shard]), shard))].append(part)
    return again


def maps_by_member(
    parts: Mapping[TrialPart, TrialSums | MemberFailure], image_shape: tuple[int, ...]
) -> dict[str, TrialMaps | MemberFailure]:
    """Each member's answer from all its parts, by id; a failure where one of them failed.

    Args:
        parts: the answers.
        image_shape: rows and columns of the image without its padding.
    """
    by_member: dict[str, list[TrialSums | MemberFailure]] = {}
    for part in sorted(parts, key=lambda part: (part.member_id, part.blocks)):
        by_member.setdefault(part.member_id, []).append(parts[part])
    return {member_id: _maps(found, image_shape) for member_id, found in by_member.items()}


def checked_sums(
    answer: TrialSums | MemberFailure, part: TrialPart, settings: TrialSettings, image_shape: tuple[int, ...]
) -> TrialSums | MemberFailure:
    """The answer, or a failure where its sums are not those of the trials that were asked for.

    Args:
        answer: as it came from a shard.
        part: what was asked for.
        settings: of the trials.
        image_shape: rows and columns of the image.
    """
    if isinstance(answer, MemberFailure):
        return answer
    if not isinstance(answer, TrialSums):
        return MemberFailure(f"answered with {type(answer).__name__} instead of sums over trials")
    if answer.settings != settings or answer.blocks != frozenset(part.blocks):
        return MemberFailure(f"answered with {len(answer.blocks)} blocks of trials, others than it was asked for")
    for shape in (answer.p_sum.shape[1:], answer.p2_sum.shape):
        if shape != image_shape:
            return MemberFailure(f"answered with sums of shape {shape} for an image of {image_shape}")
    return answer


def _maps(found: Sequence[TrialSums | MemberFailure], image_shape: tuple[int, ...]) -> TrialMaps | MemberFailure:
    sums = [part for part in found if isinstance(part, TrialSums)]
    if len(sums) < len(found):
        return next(part for part in found if isinstance(part, MemberFailure))
    whole = merge(sums)
    if whole.missing:
        return MemberFailure(f"gave {whole.n_trials} of its trials")
    return TrialMaps.of(whole.cropped(*image_shape))
