"""The Ray Tune seam of a search: a trial is one configuration with one seed; bad ones are stopped by their Dice."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune as ray_tune
from ray.tune.schedulers import ASHAScheduler

from pool.errors import PoolError
from tune.failures import error_of
from tune.live_callback import LiveCallback
from tune.ray_trials import (
    open_training,
    run_experiment,
    saved_checkpoint,
    trial_config,
)
from tune.resources import Resources
from tune.search_outcome import TrialOutcome
from tune.search_space import Configuration, SearchSettings
from tune.storage import Storage
from tune.training import EpochReport

SCORE = "best_validation_dice"
"""What trials are stopped by: the best validation Dice so far, as a configuration is judged by its best epoch."""
N_CHECKPOINTS_KEPT = 2
"""Of each trial: were it one, a stop while the next is on its way would leave none to resume from."""
_HISTORY = "epochs"


def search_trial(config: dict[str, Any]) -> None:
    """One configuration with one seed. Runs in a worker process of Ray.

    A training that fails by its own fault (a learning rate too high) is an outcome with a reason, never tried again.

    Args:
        config: `number` of the trial, `trials` with the `seed` and `settings` of each, and that of `trial_config`.
    """
    checkpoint = ray_tune.get_checkpoint()
    history: list[dict[str, Any]] = checkpoint.get_metadata()[_HISTORY] if checkpoint is not None else []
    try:
        training = open_training({**config, **config["trials"][config["number"]]})
        for report in training.epochs():
            history.append(report.to_dict())
            state = {
                _HISTORY: list(history),
                "epoch": report.epoch,
                SCORE: training.best_dice,
                "finished": training.finished,
            }
            with saved_checkpoint(training) as checkpoint:
                checkpoint.set_metadata({_HISTORY: history})
                ray_tune.report(state, checkpoint=checkpoint)
    except PoolError as error:
        ray_tune.report({_HISTORY: history, "failure": str(error)})


class LastingASHA(ASHAScheduler):
    """Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934) that survives a resume.

    Ray stores trials and not what a scheduler knows of them, so a restored trial tells its epochs once more.
    """

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Tune's hook for every trial, restored ones included."""
        super().on_trial_add(tune_controller, trial)
        best = 0.0
        for epoch in (trial.last_result or {}).get(_HISTORY, []):
            best = max(best, epoch["validation_dice"])
            self.on_trial_result(tune_controller, trial, {"epoch": epoch["epoch"], SCORE: best})


class SearchCallback(LiveCallback):
    """Runs in the driver and passes on what became of trials.

    Args:
        trials: configuration and seed of every trial, by its number.
        on_trial: called with a trial that has ended an epoch, or ended; the second argument tells which.
    """

    def __init__(self, trials: list[tuple[Configuration, int]], on_trial: Callable[[TrialOutcome, bool], None]) -> None:
        super().__init__()
        self._trials, self._on_trial = trials, on_trial

    def on_trial_result(self, *_: Any, **info: Any) -> None:
        """Tune's hook for every `report` of a trial."""
        if "epoch" in info["result"]:
            self._on_trial(_outcome(self._trials, info["trial"].config, info["result"]), False)

    def on_trial_complete(self, *_: Any, **info: Any) -> None:
        """Tune's hook for a trial that came to its end, or was stopped."""
        self._on_trial(_outcome(self._trials, info["trial"].config, info["trial"].last_result), True)


def run_search_trials(
    search: SearchSettings,
    data_dir: Path,
    experiment: Storage,
    resources: Resources,
    on_trial: Callable[[TrialOutcome, bool], None],
    resume: bool = False,
) -> list[TrialOutcome]:
    """Train every configuration with every seed, as resources allow. Ray must be running.

    Args:
        search: what is tried.
        data_dir: a labelled set, at the same path on every node.
        experiment: Ray's folder of this experiment, which every node shares.
        resources: of one trial.
        on_trial: see `SearchCallback`.
        resume: continue the experiment that lies in that folder, if one does.

    Raises:
        KeyboardInterrupt: Ctrl-C, once Tune has stored where the trials are.
    """
    trials = [(configuration, seed) for configuration in search.configurations() for seed in search.seeds]
    config = {
        **trial_config(search.base, data_dir, resources),
        "number": ray_tune.grid_search(list(range(len(trials)))),
        "trials": [{"seed": seed, "settings": search.trial_settings(c).to_dict()} for c, seed in trials],
    }
    scheduler = LastingASHA(
        time_attr="epoch",
        metric=SCORE,
        mode="max",
        max_t=search.n_epochs,
        grace_period=search.grace_epochs,
        reduction_factor=search.reduction_factor,
    )
    callback = SearchCallback(trials, on_trial)
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")  # few kept, many stored
    results = run_experiment(
        search_trial, config, experiment, resources, callback, resume, scheduler, N_CHECKPOINTS_KEPT
    )
    outcomes = []
    for result in results:
        metrics = dict(result.metrics or {})
        if result.error is not None:
            metrics["failure"] = str(error_of(result, "trial"))
        outcomes.append(_outcome(trials, result.config or {}, metrics))
    return outcomes


def _outcome(trials: list[tuple[Configuration, int]], config: dict[str, Any], result: dict[str, Any]) -> TrialOutcome:
    configuration, seed = trials[config["number"]]
    epochs = tuple(EpochReport(**fields) for fields in result.get(_HISTORY, []))
    failure = result.get("failure")
    return TrialOutcome(configuration, seed, epochs, failure is None and not result.get("finished", False), failure)
