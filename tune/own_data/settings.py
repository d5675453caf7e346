"""What decides a labelled set of own studies, beside the files."""

from __future__ import annotations

from dataclasses import dataclass

from pool.errors import SettingsError
from pool.masks.values import MaskValues
from tune.own_data.patients import Assignments


@dataclass(frozen=True)
class DatasetSettings:
    """What decides a set beside the files.

    Raises:
        SettingsError: a share that is none, or two ways to split at once.
    """

    values: MaskValues | None = None
    """Classes by stored value of the masks; None for the defaults of each format."""
    assignments: Assignments | None = None
    """What a CSV says of patients and sides; None where there is none."""
    validation_share: float | None = None
    """Share of the patients to hold out; None declares no split unless the CSV does."""
    split_seed: int = 0
    """Seed of that draw."""
    salt: str = ""
    """Goes into the pseudonyms."""
    strict: bool = False
    """Whether any rejection is an error."""

    def __post_init__(self) -> None:
        if self.validation_share is None:
            return
        if not 0.0 < self.validation_share < 1.0:
            raise SettingsError("--validation-share", "must lie between 0 and 1", f"{self.validation_share:g}")
        if self.assignments is not None and self.assignments.declares_split:
            raise SettingsError("split", "is declared by the CSV or drawn by --validation-share", "both", "Drop one.")
