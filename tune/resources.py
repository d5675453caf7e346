"""Where the trials run: never changes what is learned, so it is in no hash."""

from __future__ import annotations

from dataclasses import dataclass

from pool.errors import SettingsError


@dataclass(frozen=True)
class Resources:
    """Where the trials run. Never part of a hash: a pool is the same wherever it was trained.

    Raises:
        SettingsError: a trial without a CPU, with negative GPUs, or with one and a half.
    """

    cpus_per_trial: float = 1.0
    """CPU cores of one trial; also its number of torch threads."""
    gpus_per_trial: float = 0.0
    """GPUs of one trial; 0.2 lets five trials share one GPU. Above 0 the trial trains on CUDA."""
    address: str | None = None
    """Address of a running Ray cluster, host:port; None takes the environment's RAY_ADDRESS, which `ray job submit`
    sets, and starts a local Ray on loopback where there is none."""
    n_retries: int = 2
    """How often a trial that died is taken up again from its last checkpoint."""

    def __post_init__(self) -> None:
        if self.cpus_per_trial <= 0 or self.gpus_per_trial < 0 or self.n_retries < 0:
            raise SettingsError(
                "resources",
                "a trial needs CPUs above 0, GPUs and retries of at least 0",
                f"{self.cpus_per_trial:g} CPUs, {self.gpus_per_trial:g} GPUs, {self.n_retries} retries",
            )
        if self.gpus_per_trial > 1 and self.gpus_per_trial != int(self.gpus_per_trial):
            rule = "a trial needs a share of one GPU, up to 1, or a whole number of them"
            raise SettingsError("resources", rule, f"{self.gpus_per_trial:g} GPUs")
