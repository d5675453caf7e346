"""What a search found: outcomes of trials, and configurations ranked by them. Pure functions of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tune.search_space import Configuration
from tune.training import EpochReport


@dataclass(frozen=True)
class TrialOutcome:
    """One configuration with one seed."""

    configuration: Configuration
    """What was tried."""
    seed: int
    """Of the training."""
    epochs: tuple[EpochReport, ...]
    """What was trained."""
    unfinished: bool
    """Whether the recipe would have gone on: at the end of a search, that it was stopped for its score."""
    failure: str | None = None
    """Why there is no score; None where there is one."""

    @property
    def id(self) -> str:
        """`c02-s1` is configuration 2 with seed 1."""
        return f"c{self.configuration.number:02d}-s{self.seed}"

    @property
    def validation_dice(self) -> float:
        """Of its best epoch, in [0, 1]; 0 before the first."""
        return max((epoch.validation_dice for epoch in self.epochs), default=0.0)

    @property
    def n_patches_per_s(self) -> float:
        """Patches a second of training, validation not counted: the median of its epochs; 0 before the first."""
        return float(np.median([epoch.n_patches_per_s for epoch in self.epochs])) if self.epochs else 0.0


@dataclass(frozen=True)
class RankedConfiguration:
    """A configuration and all its trials."""

    configuration: Configuration
    """What was tried."""
    trials: tuple[TrialOutcome, ...]
    """One a seed."""

    @property
    def failure(self) -> str | None:
        """Why the first failed trial failed; None if none did."""
        return next((trial.failure for trial in self.trials if trial.failure is not None), None)

    @property
    def validation_dice(self) -> float:
        """Mean over the seeds of the best epoch's validation Dice, in [0, 1]."""
        return float(np.mean([trial.validation_dice for trial in self.trials]))

    @property
    def n_epochs(self) -> int:
        """Epochs of the longest trial."""
        return max(len(trial.epochs) for trial in self.trials)

    @property
    def n_stopped(self) -> int:
        """Trials that were stopped for their score."""
        return sum(trial.unfinished for trial in self.trials)

    @property
    def n_patches_per_s(self) -> float:
        """Mean over the trials."""
        return float(np.mean([trial.n_patches_per_s for trial in self.trials]))

    def to_row(self, rank: int) -> dict[str, Any]:
        """A row of the table, JSON-ready; a failed configuration has no Dice."""
        return {
            "rank": rank,
            "configuration": self.configuration.number,
            "patch_px": self.configuration.patch_px,
            "stride_px": self.configuration.stride_px,
            "learning_rate": self.configuration.learning_rate,
            "loss": self.configuration.loss,
            "validation_dice": self.validation_dice if self.failure is None else None,
            "n_epochs": self.n_epochs,
            "n_seeds": len(self.trials),
            "n_stopped": self.n_stopped,
            "n_patches_per_s": self.n_patches_per_s,
            "failure": self.failure,
        }


def rank(outcomes: Sequence[TrialOutcome]) -> tuple[RankedConfiguration, ...]:
    """Configurations, best first; of equals the one that comes first in the grid; failed ones last."""
    trials: dict[Configuration, list[TrialOutcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: (o.configuration.number, o.seed)):
        trials.setdefault(outcome.configuration, []).append(outcome)
    ranked = [RankedConfiguration(configuration, tuple(of_it)) for configuration, of_it in trials.items()]
    return tuple(sorted(ranked, key=lambda row: (row.failure is not None, -row.validation_dice)))
