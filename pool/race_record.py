"""What is said of a race once it is run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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
    """Members measured, by number of patches, rising."""
    n_passes: int
    """Patch passes of the race; those of an audit are not counted."""
    n_passes_exhaustive: int
    """Patch passes of as many full sweeps as the pool has members."""
    audit: Audit | None
    """None where none was asked for."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        levels = [{"n_patches": n_patches, "n_members": n} for n_patches, n in self.n_members.items()]
        return {
            "levels": levels,
            "n_passes": self.n_passes,
            "n_passes_exhaustive": self.n_passes_exhaustive,
            "audit": asdict(self.audit) if self.audit else None,
        }
