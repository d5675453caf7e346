"""Training whose trials tell which epochs they trained, and wait where a test wants to kill something.

`python -m tests.tune.watched FOLDER EPOCH ...` is `python -m tune ...` with such trials.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

import tune.trainable
from tune.training import EpochReport, SeedTraining, StepProgress

GO = "go"


def watched_trial(folder: Path, waits_after: int) -> Callable[[dict[str, Any]], None]:
    """A trial that leaves a file for every epoch that it has trained and saved.

    Args:
        folder: of those files, named `seed-epoch-process`; and of a file `gpu.seed.number` for a GPU that Ray gave to
            a trial, which then trains on the CPU all the same.
        waits_after: epoch after which it waits until the folder holds a file `go`.
    """

    def train_trial(config: dict[str, Any]) -> None:
        run_on = SeedTraining.epochs

        def epochs(self: SeedTraining, on_step: Callable[[StepProgress], None] | None = None) -> Iterator[EpochReport]:
            for report in run_on(self, on_step):
                yield report
                (folder / f"{self.seed}-{report.epoch}-{os.getpid()}").touch()
                while report.epoch == waits_after and not (folder / GO).exists():
                    time.sleep(0.02)

        SeedTraining.epochs = epochs  # type: ignore[method-assign]  # in the trial's own process
        for number in ray.get_gpu_ids():
            (folder / f"gpu.{config['seed']}.{number}").touch()
        train({**config, "device": "cpu"})

    train = tune.trainable.train_trial
    return train_trial


def epochs_trained(folder: Path) -> list[tuple[int, int, int]]:
    """Seed, epoch and process of every epoch that was trained so far."""
    return sorted(tuple(int(part) for part in path.name.split("-")) for path in folder.glob("*-*-*"))  # type: ignore[misc]


if __name__ == "__main__":
    from tune.__main__ import app

    tune.trainable.train_trial = watched_trial(Path(sys.argv[1]), int(sys.argv[2]))
    app(sys.argv[3:])
