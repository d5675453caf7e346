"""How many trials, from which seed, and how they are cut into blocks that replicas share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pool.errors import SettingsError

MOST_TRIALS = 32_000
"""The sums of so many trials still fit 64-bit integers, see `pool.trials.sums`."""
ADVISED_TRIALS = 100
"""From about so many on, MCD Uncertainty is accurate (Do et al. 2020, Figure 6)."""


@dataclass(frozen=True)
class TrialSettings:
    """The trials of one image.

    Raises:
        SettingsError: counts out of range or a negative seed.
    """

    n_trials: int = 1115
    """Trials in all; the paper's number. Its advice is `ADVISED_TRIALS`."""
    seed: int = 0
    """Trial i draws from a generator of its own, made from this seed and i."""
    batch_size: int = 10
    """Trials of a block: one forward pass, the unit that replicas share. The draws do not depend on it; the sums do in
    the last bits of a probability, as those of a convolution depend on its batch."""

    def __post_init__(self) -> None:
        limits = {"n_trials": (1, MOST_TRIALS), "seed": (0, 2**40), "batch_size": (1, 4096)}
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise SettingsError("trials", f"{name} must be a whole number from {least} to {most}", repr(value))

    @property
    def n_blocks(self) -> int:
        """Blocks in all; the last may be short."""
        return -(-self.n_trials // self.batch_size)

    def trials_of(self, block: int) -> range:
        """Numbers of a block's trials."""
        first = block * self.batch_size
        return range(first, min(first + self.batch_size, self.n_trials))

    def blocks_of(self, replica: int, n_replicas: int) -> range:
        """The blocks that one of several replicas computes: every n-th, so that all have as much to do."""
        return range(replica, self.n_blocks, n_replicas)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)
