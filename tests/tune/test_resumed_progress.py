"""What the driver shows of a training that is resumed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tune.progress import SeedProgress, TrainingProgress
from tune.settings import TrainingSettings
from tune.trainable import DriverCallback


def trial(seed: int, status: str) -> SimpleNamespace:
    return SimpleNamespace(config={"seed": seed}, status=status)


def test_a_seed_that_ended_before_the_resume_is_done_and_gives_no_pace(tiny: TrainingSettings) -> None:
    told: list[TrainingProgress] = []
    callback = DriverCallback(tiny, told.append, lambda _: None)
    trials = [trial(1, "TERMINATED"), trial(2, "RUNNING")]
    callback.on_step_begin(iteration=0, trials=trials)
    callback.on_step_begin(iteration=1, trials=trials)
    (first,) = told
    assert [str(seed) for seed in first.seeds] == ["seed 1: done", "seed 2: waiting"]
    assert (first.share, first.remaining_s) == (0.5, None)

    step = {"epoch": 2, "n_steps_done": 12, "n_steps": 20, "train_loss": 0.5}
    callback.on_trial_result(trial=trials[1], result={"progress": step})
    assert [seed.share_before for seed in told[-1].seeds] == [1.0, 0.5]  # epoch 1 of 2 was trained before
    assert [seed.share for seed in told[-1].seeds] == [1.0, 0.6]


def test_the_time_left_is_that_of_the_pace_since_the_start() -> None:
    done = SeedProgress(1, 4, finished=True, share_before=1.0)
    on_its_way = SeedProgress(2, 4, n_steps_done=30, n_steps=40, share_before=0.5)
    assert TrainingProgress((done, on_its_way), elapsed_s=10.0).remaining_s == pytest.approx(10.0)
    fresh = SeedProgress(1, 4, n_steps_done=10, n_steps=40)
    assert TrainingProgress((fresh,), elapsed_s=10.0).remaining_s == pytest.approx(30.0)
