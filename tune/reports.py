"""What a training tells of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to."""

    seed: int
    epoch: int
    """From 1."""
    train_loss: float
    """Mean loss of the epoch's batches."""
    validation_dice: float
    """Mean myocardial Dice of the validation slices, whole slices, in [0, 1]."""
    learning_rate: float
    """At the last step."""
    n_patches_per_s: float
    """Training patches a second, validation not counted."""
    training_s: float
    """Time of the training steps [s]."""
    validation_s: float
    """Time of the validation [s]."""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready fields."""
        return asdict(self)


@dataclass(frozen=True)
class StepProgress:
    """How far an epoch has come; for display only."""

    epoch: int
    n_steps_done: int
    """Steps of the whole training, this epoch's included."""
    n_steps: int
    """Steps of the whole training if it does not stop early."""
    train_loss: float
    """Mean loss of this epoch so far."""
