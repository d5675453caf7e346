"""The Ray Tune seam of a pool's training: one trial a seed, every epoch a checkpoint that may become a member."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune as ray_tune

from tune.assemble import Candidate
from tune.failures import error_of, last_failure
from tune.live_callback import LiveCallback
from tune.progress import SeedProgress, TrainingProgress
from tune.ray_trials import open_training, progress_teller, run_experiment, saved_checkpoint, trial_config
from tune.resources import Resources
from tune.settings import TrainingSettings
from tune.start import StartPool
from tune.storage import Storage
from tune.training import EpochReport

_log = logging.getLogger(__name__)


def train_trial(config: dict[str, Any]) -> None:
    """One seed. Runs in a worker process of Ray.

    Args:
        config: `seed`, and that of `tune.ray_trials.trial_config`.
    """
    training = open_training(config)
    for report in training.epochs(progress_teller()):
        with saved_checkpoint(training) as checkpoint:
            ray_tune.report({"epoch_report": report.to_dict()}, checkpoint=checkpoint)


class DriverCallback(LiveCallback):
    """Runs in the driver: keeps the state of all seeds and passes epochs on, the single writer of everything.

    Args:
        settings: the recipe.
        on_progress: called with the state of all seeds whenever one has reported.
        on_epoch: called with every finished epoch.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        on_progress: Callable[[TrainingProgress], None] | None,
        on_epoch: Callable[[EpochReport], None],
    ) -> None:
        super().__init__()
        self._on_progress, self._on_epoch = on_progress, on_epoch
        self._started_s = time.monotonic()
        self._seeds = {seed: SeedProgress(seed=seed, n_epochs=settings.n_epochs) for seed in settings.seeds}

    def on_trial_result(self, *_: Any, **info: Any) -> None:
        """Tune's hook for every `report` of a trial."""
        seed, result = info["trial"].config["seed"], info["result"]
        state = replace(self._seeds[seed], n_reports=self._seeds[seed].n_reports + 1)
        if step := result.get("progress"):
            if state.n_reports == 1:
                state = replace(state, share_before=(step["epoch"] - 1) / state.n_epochs)
            state = replace(
                state,
                epoch=step["epoch"],
                n_steps_done=step["n_steps_done"],
                n_steps=step["n_steps"],
                train_loss=step["train_loss"],
            )
        if fields := result.get("epoch_report"):
            report = EpochReport(**fields)
            state = replace(
                state, epoch=report.epoch, train_loss=report.train_loss, validation_dice=report.validation_dice
            )
            self._on_epoch(report)
        self._update(seed, state)

    def on_step_begin(self, *_: Any, **info: Any) -> None:
        """Tune's hook for every turn of its loop: of trials that ended before a resume it tells nothing else."""
        for trial in info["trials"]:
            state = self._seeds[trial.config["seed"]]
            if trial.status == "TERMINATED" and not state.finished:
                self._update(state.seed, replace(state, finished=True, share_before=float(state.n_reports == 0)))

    def on_trial_recover(self, *_: Any, **info: Any) -> None:
        """Tune's hook for a trial that failed and will be taken up again."""
        trial, seed = info["trial"], info["trial"].config["seed"]
        n_left = trial.max_failures - trial.num_failures
        taken_up = (
            f"it goes on from its last checkpoint, and may fail {n_left} more times" if n_left else "its last try"
        )
        _log.warning("Seed %d failed: %s; %s.", seed, last_failure(trial), taken_up)

    def on_trial_complete(self, *_: Any, **info: Any) -> None:
        """Tune's hook for a trial that came to its end."""
        seed = info["trial"].config["seed"]
        self._update(seed, replace(self._seeds[seed], finished=True))

    def _update(self, seed: int, state: SeedProgress) -> None:
        self._seeds[seed] = state
        if self._on_progress is not None:
            self._on_progress(TrainingProgress(tuple(self._seeds.values()), time.monotonic() - self._started_s))


def run_trials(
    settings: TrainingSettings,
    data_dir: Path,
    experiment: str | Path | Storage,
    resources: Resources,
    callback: DriverCallback,
    resume: bool = False,
    start: StartPool | None = None,
) -> list[Candidate]:
    """Train all seeds in parallel, as resources allow, and return every checkpoint. Ray must be running.

    Args:
        settings: the recipe.
        data_dir: a labelled set, at the same path on every node.
        experiment: Ray's folder of this experiment, which every node shares.
        resources: of one trial.
        callback: see `DriverCallback`.
        resume: continue the experiment that lies in that folder, if one does.
        start: the pool that weights come from; None draws them.

    Raises:
        TrainingError: a trial failed more often than `resources.n_retries`.
        KeyboardInterrupt: Ctrl-C, once Tune has stored where the trials are.
    """
    config = {"seed": ray_tune.grid_search(list(settings.seeds)), **trial_config(settings, data_dir, resources, start)}
    candidates = []
    for result in run_experiment(train_trial, config, experiment, resources, callback, resume):
        if result.error is not None:
            raise error_of(result, f"trial of seed {(result.config or {}).get('seed', '?')}")
        for checkpoint, metrics in result.best_checkpoints or []:
            candidates.append(Candidate(EpochReport(**metrics["epoch_report"]), checkpoint))
    return candidates
