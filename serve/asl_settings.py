"""What can be chosen about ASL studies, and whether a pool can answer about them."""

from __future__ import annotations

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from pool.asl.analysis import AslAnalysisSettings, calibrated_trials
from pool.errors import SettingsError
from pool.manifest import PoolManifest
from pool.perfusion.asl import AslValues
from pool.trials.settings import MOST_TRIALS, TrialSettings


class AslSettings(BaseSettings):
    """The part of the service's settings that is about ASL."""

    asl_trials: int | None = Field(
        default=None,
        ge=1,
        le=MOST_TRIALS,
        description="Trials of every member about an ASL image; default: as many as its members are calibrated with.",
    )
    asl_field_t: float = Field(
        default=3.0, allow_inf_nan=False, description="Field of ASL studies that do not say theirs [T]."
    )

    @field_validator("asl_field_t")
    @classmethod
    def _tabulated(cls, asl_field_t: float) -> float:
        try:
            AslValues(field_t=asl_field_t)
        except SettingsError as error:
            raise ValueError(error.rule) from error
        return asl_field_t

    def asl(self, manifest: PoolManifest, n_threads: int = 1, device: str = "cpu") -> AslAnalysisSettings:
        """What decides the numbers of ASL studies.

        Args:
            manifest: of the pool.
            n_threads: torch's, of a shard.
            device: torch's.
        """
        n_trials = self.asl_trials or calibrated_trials(manifest)
        return AslAnalysisSettings(TrialSettings(n_trials), AslValues(field_t=self.asl_field_t), n_threads, device)

    def check_trials(self, manifest: PoolManifest) -> None:
        """Refuse a pool whose members of trials could never be believed.

        Raises:
            SettingsError: members that take more than one image, or are not calibrated with so many trials.
        """
        if not manifest.of_trials:
            return
        for entry in manifest.of_trials:
            if entry.network.n_frames != 1:
                rule, remedy = "must take one image if it makes trials", "Take it out of the pool."
                raise SettingsError(f"member {entry.id}", rule, f"{entry.network.n_frames} frames", remedy)
        n_trials = self.asl(manifest).trials.n_trials
        known = {entry.id: entry.calibration.n_trials if entry.calibration else None for entry in manifest.of_trials}
        if not any(known.values()):
            raise SettingsError(
                f"pool {manifest.name}",
                "needs members of trials that are calibrated, or none",
                "no calibrated one",
                "Calibrate them: `python -m tune asl mix --pools POOL --out MIXED`.",
            )
        if others := [f"{n} of {member_id}" for member_id, n in known.items() if n != n_trials]:
            raise SettingsError(
                "service setting asl_trials",
                f"must be the number that all members of trials of pool {manifest.name} are calibrated with",
                f"{n_trials}, and {others[0]}",
                "Others would make trials about every image and never be believed.",
            )
