"""The Ray Tune seam: one trial a seed, checkpoints through Ray's storage, resumed from the last one after a death."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ray import tune as ray_tune

from pool.errors import PoolError
from pool.manifest import save_weights
from tune.assemble import CHECKPOINT_MEMBER, Candidate
from tune.errors import TrainingError
from tune.progress import SeedProgress, TrainingProgress
from tune.resources import Resources
from tune.samples import Samples, split_by_subject
from tune.settings import TrainingSettings
from tune.training import EpochReport, SeedTraining, StepProgress

RESUME_NAME = "resume.pt"
PROGRESS_EVERY_S = 3.0
"""How often a trial reports between two epochs [s]; every report costs it a few milliseconds."""


def train_trial(config: dict[str, Any]) -> None:
    """One seed. Runs in a worker process of Ray.

    Args:
        config: `seed`, `settings` (JSON fields), `data_dir`, `n_threads`, `device`.
    """
    torch.set_num_threads(config["n_threads"])
    settings = TrainingSettings.from_dict(config["settings"])
    samples = Samples.open(Path(config["data_dir"])).to(config["device"])
    split = split_by_subject(samples.subject_ids, settings)
    training = SeedTraining(settings, config["seed"], samples, split, config["device"])
    if (checkpoint := ray_tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            training.load_state(torch.load(Path(folder) / RESUME_NAME, weights_only=True, map_location="cpu"))
    told_s = time.monotonic()

    def on_step(progress: StepProgress) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= PROGRESS_EVERY_S:
            told_s = time.monotonic()
            ray_tune.report({"progress": vars(progress)})

    for report in training.epochs(on_step):
        with tempfile.TemporaryDirectory() as folder:
            save_weights(Path(folder), CHECKPOINT_MEMBER, training.weights())
            torch.save(training.state(), Path(folder) / RESUME_NAME)
            checkpoint = ray_tune.Checkpoint.from_directory(folder)
            ray_tune.report({"epoch_report": report.to_dict()}, checkpoint=checkpoint)


class DriverCallback(ray_tune.Callback):
    """Runs in the driver: keeps the state of all seeds and passes epochs on, the single writer of everything.

    Args:
        settings: the recipe.
        on_progress: called with the state of all seeds whenever one has reported.
        on_epoch: called with every finished epoch.
    """

    current: DriverCallback | None = None

    def __init__(
        self,
        settings: TrainingSettings,
        on_progress: Callable[[TrainingProgress], None] | None,
        on_epoch: Callable[[EpochReport], None],
    ) -> None:
        self._on_progress, self._on_epoch = on_progress, on_epoch
        self._started_s = time.monotonic()
        self._seeds = {seed: SeedProgress(seed=seed, n_epochs=settings.n_epochs) for seed in settings.seeds}
        DriverCallback.current = self

    def __reduce__(self) -> tuple[Callable[[], DriverCallback | None], tuple[()]]:
        """Tune pickles callbacks with the experiment; a restored one is the callback of the process that restores."""
        return _current_callback, ()

    def on_trial_result(self, *_: Any, **info: Any) -> None:
        """Tune's hook for every `report` of a trial."""
        seed, result = info["trial"].config["seed"], info["result"]
        state = replace(self._seeds[seed], n_reports=self._seeds[seed].n_reports + 1)
        if step := result.get("progress"):
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

    def on_trial_complete(self, *_: Any, **info: Any) -> None:
        """Tune's hook for a trial that came to its end."""
        seed = info["trial"].config["seed"]
        self._update(seed, replace(self._seeds[seed], finished=True))

    def _update(self, seed: int, state: SeedProgress) -> None:
        self._seeds[seed] = state
        if self._on_progress is not None:
            self._on_progress(TrainingProgress(tuple(self._seeds.values()), time.monotonic() - self._started_s))


def _current_callback() -> DriverCallback | None:
    return DriverCallback.current


def run_trials(
    settings: TrainingSettings,
    data_dir: Path,
    experiment: Path,
    resources: Resources,
    callback: DriverCallback,
    resume: bool = False,
) -> list[Candidate]:
    """Train all seeds in parallel, as resources allow, and return every checkpoint. Ray must be running.

    Args:
        settings: the recipe.
        data_dir: a labelled set, at the same path on every node.
        experiment: absolute path of Ray's folder of this experiment.
        resources: of one trial.
        callback: see `DriverCallback`.
        resume: continue the experiment that lies in that folder, if one does.

    Raises:
        TrainingError: a trial failed more often than `resources.n_retries`.
        KeyboardInterrupt: Ctrl-C, once Tune has stored where the trials are.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a box even when told to be silent
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")  # else a killed driver loses the first epochs
    config = {
        "seed": ray_tune.grid_search(list(settings.seeds)),
        "settings": settings.to_dict(),
        "data_dir": str(data_dir.resolve()),
        "n_threads": max(1, int(resources.cpus_per_trial)),
        "device": "cuda" if resources.gpus_per_trial > 0 else "cpu",
    }
    needs = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    trainable = ray_tune.with_resources(train_trial, needs)
    if resume and ray_tune.Tuner.can_restore(str(experiment)):
        tuner = ray_tune.Tuner.restore(str(experiment), trainable, param_space=config, resume_errored=True)
    else:
        run_config = ray_tune.RunConfig(
            name=experiment.name,
            storage_path=str(experiment.parent),
            callbacks=[callback],
            failure_config=ray_tune.FailureConfig(max_failures=resources.n_retries),
            verbose=0,
        )
        tuner = ray_tune.Tuner(trainable, param_space=config, run_config=run_config)
    candidates = []
    results = tuner.fit()
    for result in (results[i] for i in range(len(results))):
        if result.error is not None:
            raise _as_pool_error(result.error, result.config)
        if not (result.metrics or {}).get("done"):  # Tune takes Ctrl-C for an early end; half a training is no pool
            raise KeyboardInterrupt
        for checkpoint, metrics in result.best_checkpoints or []:
            candidates.append(Candidate(EpochReport(**metrics["epoch_report"]), checkpoint))
    return candidates


def _as_pool_error(error: BaseException, config: dict[str, Any] | None) -> PoolError:
    cause = getattr(error, "cause", error)
    if isinstance(cause, PoolError):
        return cause
    last_line = (str(cause).strip().splitlines() or [type(cause).__name__])[-1]
    seed = (config or {}).get("seed", "?")
    return TrainingError(f"trial of seed {seed}", "must end without a failure", last_line, "See Ray's logs.")
