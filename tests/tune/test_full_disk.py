"""A disk that is full while pools are made: one sentence, and the training goes on once there is room."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import tune as ray_tune

import tune.trainable
from pool.errors import OutputError, SettingsError
from tune.full_disk import full_disk_in_words
from tune.resources import Resources
from tune.run import train_pool
from tune.settings import TrainingSettings

FULL = OSError(errno.ENOSPC, "No space left on device")
SENTENCE = r"training: needs room on the disk; found no space left\. Free some space; --resume goes on from the last"


def raise_from(error: Exception, cause: Exception | None) -> None:
    raise error from cause


@pytest.mark.parametrize(
    ("error", "cause"), [(FULL, None), (RuntimeError("copying failed"), FULL), (OSError(errno.EDQUOT, "Quota"), None)]
)
def test_a_full_disk_is_one_sentence(error: Exception, cause: Exception | None) -> None:
    with pytest.raises(OutputError, match=SENTENCE), full_disk_in_words("training"):
        raise_from(error, cause)


def test_whatever_happens_on_a_full_disk_happens_because_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n_free, refusal in ((500_000, OutputError), (5_000_000_000, EOFError)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, n_free=n_free: SimpleNamespace(free=n_free))
        with pytest.raises(refusal), full_disk_in_words("training", tmp_path):
            raise EOFError("half a file")


def test_other_errors_pass() -> None:
    for error in (OSError(errno.EACCES, "Permission denied"), SettingsError("a", "b"), ValueError()):
        with pytest.raises(type(error)) as caught, full_disk_in_words("training"):
            raise_from(error, None)
        assert caught.value is error


def full_until(freed: Path) -> Callable[[dict[str, Any]], None]:
    """A trial whose second checkpoint finds no room before `freed` exists."""

    def train_trial(config: dict[str, Any]) -> None:
        report = ray_tune.report

        def report_if_there_is_room(metrics: dict[str, Any], **checkpoint: Any) -> None:
            if checkpoint and metrics["epoch_report"]["epoch"] == 2 and not freed.exists():
                raise OSError(errno.ENOSPC, "No space left on device")
            report(metrics, **checkpoint)

        ray_tune.report = report_if_there_is_room  # in the trial's own process
        try:
            tune.trainable.train_trial(config)
        finally:
            ray_tune.report = report

    return train_trial


@pytest.mark.usefixtures("local_ray")
def test_a_training_on_a_full_disk_ends_in_one_sentence_and_goes_on_once_there_is_room(
    data: Path, tiny: TrainingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, freed = dataclasses.replace(tiny, seeds=(1,)), tmp_path / "freed"
    monkeypatch.setattr("tune.trainable.train_trial", full_until(freed))
    places = {"storage_path": tmp_path / "storage", "resources": Resources(n_retries=0)}
    with pytest.raises(
        OutputError, match=r"checkpoint of seed 1, epoch 2: needs room on the disk; found no space left"
    ):
        train_pool(settings, data, tmp_path / "pool", **places)
    assert not (tmp_path / "pool").exists()
    freed.touch()
    manifest = train_pool(settings, data, tmp_path / "pool", **places, resume=True)
    assert sorted(member.id for member in manifest.members) == ["s1-e01", "s1-e02"]
    assert len(list((tmp_path / "storage" / "seeds").glob("train_trial_*"))) == 1  # taken up, not begun anew
