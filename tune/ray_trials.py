"""What every experiment with Ray Tune shares: a trial is the training of one seed, resumed from its last checkpoint."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from ray import tune as ray_tune

from pool.weights import save_weights
from tune.assemble import CHECKPOINT_MEMBER
from tune.failures import speak_for_tune
from tune.full_disk import RESUME, full_disk_in_words
from tune.gpu import take_gpu
from tune.resources import Resources
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.start import StartPool
from tune.storage import Storage
from tune.training import SeedTraining, StepProgress
from tune.tune_state import has_trials, kept_state

RESUME_NAME = "resume.pt"
PROGRESS_EVERY_S = 3.0
"""How often a trial reports between two epochs [s]; every report costs it a few milliseconds."""


def trial_config(
    settings: TrainingSettings, data_dir: Path, resources: Resources, start: StartPool | None = None
) -> dict[str, Any]:
    """What a trial gets beside its seed; plain values, since Tune stores them.

    Args:
        settings: the recipe.
        data_dir: a labelled set, at the same path on every node.
        resources: of one trial.
        start: the pool that weights come from, at the same path on every node.
    """
    return {
        "settings": settings.to_dict(),
        "data_dir": str(data_dir.resolve()),
        "n_threads": max(1, int(resources.cpus_per_trial)),
        "device": "cuda" if resources.gpus_per_trial > 0 else "cpu",
        "n_gpus": resources.gpus_per_trial,
        "start": start.to_config() if start is not None else None,
    }


def open_training(config: dict[str, Any]) -> SeedTraining:
    """The training of a trial, where its last checkpoint left it. Called in a worker process of Ray.

    Args:
        config: `seed`, and that of `trial_config`.
    """
    torch.set_num_threads(config["n_threads"])
    if config["device"] == "cuda":
        take_gpu(config["n_gpus"])
    settings = TrainingSettings.from_dict(config["settings"])
    samples = Samples.open(Path(config["data_dir"])).to(config["device"])
    split = samples.split(settings)
    start = StartPool.from_config(config.get("start"))
    training = SeedTraining(settings, config["seed"], samples, split, config["device"], start)
    if (checkpoint := ray_tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            training.load_state(torch.load(Path(folder) / RESUME_NAME, weights_only=True, map_location="cpu"))
    return training


@contextmanager
def saved_checkpoint(training: SeedTraining) -> Iterator[ray_tune.Checkpoint]:
    """The member and all that a resume needs, in a temporary folder, to be reported before it is left.

    Raises:
        OutputError: the disk is full, here or where the report is stored.
    """
    subject = f"checkpoint of seed {training.seed}, epoch {training.epoch}"
    with full_disk_in_words(subject, Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        save_weights(Path(folder), CHECKPOINT_MEMBER, training.weights())
        torch.save(training.state(), Path(folder) / RESUME_NAME)
        yield ray_tune.Checkpoint(folder)


def progress_teller() -> Callable[[StepProgress], None]:
    """Reports to the driver between two epochs, but not at every step."""
    told_s = time.monotonic()

    def on_step(progress: StepProgress) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= PROGRESS_EVERY_S:
            told_s = time.monotonic()
            ray_tune.report({"progress": vars(progress)})

    return on_step


def run_experiment(
    trainable: Callable[[dict[str, Any]], None],
    config: dict[str, Any],
    experiment: str | Path | Storage,
    resources: Resources,
    callback: ray_tune.Callback,
    resume: bool = False,
    scheduler: ray_tune.schedulers.TrialScheduler | None = None,
    n_checkpoints_kept: int | None = None,
    go_on: str = RESUME,
) -> list[ray_tune.Result]:
    """Run all trials in parallel, as resources allow. Ray must be running.

    Args:
        trainable: one trial.
        config: of the trials, with Tune's `grid_search` in it.
        experiment: Ray's folder of this experiment, which every node shares.
        resources: of one trial.
        callback: lives in this process.
        resume: continue the experiment that lies in that folder, if one does; its scheduler is the stored one.
        scheduler: stops trials early; None never does.
        n_checkpoints_kept: the last ones of each trial; None keeps all.
        go_on: how, once a full disk has room.

    Returns:
        A result a trial; one that failed more often than `resources.n_retries` has an `error`.

    Raises:
        OutputError: the disk of a local folder is full, so that not even the trials' errors could be stored.
        KeyboardInterrupt: Ctrl-C, once Tune has stored where the trials are.
    """
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # between two epochs there is no score yet
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the new one prints a box even when told to be silent
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")  # else a killed driver loses the first epochs
    speak_for_tune()
    needs = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    limited = ray_tune.with_resources(trainable, needs)
    folder = Storage.at(experiment)
    if resume and has_trials(folder):
        tuner = ray_tune.Tuner.restore(
            folder.path,
            limited,
            param_space=config,
            resume_errored=True,
            storage_filesystem=folder.filesystem,
        )
    else:
        run_config = ray_tune.RunConfig(
            name=folder.name,
            storage_path=str(PurePosixPath(folder.path).parent),
            storage_filesystem=folder.filesystem,
            callbacks=[callback],
            checkpoint_config=ray_tune.CheckpointConfig(num_to_keep=n_checkpoints_kept),
            failure_config=ray_tune.FailureConfig(max_failures=resources.n_retries),
            verbose=0,
        )
        tune_config = ray_tune.TuneConfig(scheduler=scheduler)
        tuner = ray_tune.Tuner(limited, param_space=config, tune_config=tune_config, run_config=run_config)
    with full_disk_in_words("training", folder.local, go_on), kept_state(folder):
        grid = tuner.fit()
        results = [grid[i] for i in range(len(grid))]
    if any(result.error is None and not (result.metrics or {}).get("done") for result in results):
        raise KeyboardInterrupt  # Tune takes Ctrl-C for an early end; half a training is none
    return results
