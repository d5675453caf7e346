"""How long and how much at once, for whoever asks the shards."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SelectorLimits:
    """How long and how much at once."""

    slice_deadline_s: float
    """Longest wait for all answers about one slice [s], from the moment it is sent out; in a race, of one round."""
    readiness_deadline_s: float
    """Longest wait for a shard to say what it holds [s]."""
    slices_in_flight: int
    """Slices that the shards are asked about at once, over all studies."""
    least_members: int
    """Fewest members whose answers make a result; where a study has fewer, all of them."""
