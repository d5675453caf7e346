"""Everything that decides the numbers of an analysis, as data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field

from pool.errors import SettingsError
from pool.perfusion.settings import FlowSettings
from pool.preprocess import PreprocessSettings
from pool.race_settings import RaceSettings
from pool.selection import RACE_RULE, SELECTION_RULES
from pool.sweep import SweepSettings


@dataclass(frozen=True)
class AnalysisSettings:
    """Everything that decides the numbers of an analysis.

    Raises:
        SettingsError: an unknown selection rule, or a race that does not fit the sweep or another rule.
    """

    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    rule: str = "min-u_pp"
    """Selection rule, one of `pool.selection.SELECTION_RULES`."""
    race: RaceSettings | None = None
    """How `min-u_pp-race` is run, by default as `RaceSettings` says; None with every other rule."""
    flow: FlowSettings | None = field(default_factory=FlowSettings)
    """How blood flow is measured, where the series says how it was made; None leaves it out."""
    n_threads: int = 1
    """Torch's threads in a sweep. The last bits of a U-map may depend on it, hence it is part of the settings."""
    device: str = "cpu"
    """Torch's device; another one gives other last bits."""

    def __post_init__(self) -> None:
        if self.n_threads < 1:
            raise SettingsError("analysis", "n_threads must be at least 1", str(self.n_threads))
        if self.rule not in SELECTION_RULES:
            raise SettingsError("selection rule", f"must be one of {', '.join(SELECTION_RULES)}", repr(self.rule))
        if self.rule != RACE_RULE and self.race is not None:
            raise SettingsError("race", f"is of the rule {RACE_RULE} alone", self.rule)
        if self.rule == RACE_RULE and self.race is None:
            object.__setattr__(self, "race", RaceSettings())
        if self.race is not None:
            self.race.check_sweep(self.sweep, self.preprocess.image_px)

    def sha256(self) -> str:
        """Hash of the settings; goes into every result."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
