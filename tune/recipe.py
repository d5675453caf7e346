"""What choosing members, writing a pool and logging it need to know of a recipe, whatever it trains."""

from __future__ import annotations

from typing import Any, Protocol

from pool.networks import NetworkSpec


class Recipe(Protocol):
    """`TrainingSettings` of patches and `AslTrainingSettings` of images are recipes."""

    @property
    def network(self) -> NetworkSpec:
        """Kind and size of every member."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """One training run a seed."""

    @property
    def n_checkpoints(self) -> int:
        """Members taken from each seed."""

    @property
    def least_validation_dice(self) -> float:
        """Validation Dice that a checkpoint needs to become a member."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""

    def sha256(self) -> str:
        """Hash of all settings."""
