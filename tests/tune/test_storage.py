from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from pool.errors import OutputError, SettingsError
from pool.networks import NetworkSpec
from tune.record import refuse_another_training, save_record, training_record
from tune.resources import Resources
from tune.settings import TrainingSettings
from tune.start import StartPool
from tune.storage import RECORD_NAME, Storage, refuse_unusable_places

STARTED = TrainingSettings.quick()
FIRST_POOL = StartPool(Path("/pools/first"), "123")


def record(
    settings: TrainingSettings = STARTED,
    data: str = "set",
    sha256: str = "abc",
    resources: Resources | None = None,
    start: StartPool | None = FIRST_POOL,
) -> dict[str, object]:
    return dict(training_record(settings, Path(data), sha256, resources or Resources(), start))


def changed(**changes: object) -> dict[str, object]:
    return record(dataclasses.replace(STARTED, **changes))


def test_how_members_are_chosen_and_where_the_cluster_is_may_change(tmp_path: Path) -> None:
    save_record(Storage.at(tmp_path), record())
    refuse_another_training(Storage.at(tmp_path), changed(n_checkpoints=1, least_validation_dice=0.1))
    refuse_another_training(Storage.at(tmp_path), record(resources=Resources(address="10.0.0.1:6379")))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (changed(n_epochs=9), "n_epochs 9 instead of 8"),
        (changed(seeds=(1, 2, 3)), "seeds [1, 2, 3] instead of [1, 2]"),
        (changed(network=NetworkSpec(width=8, n_poolings=3)), "network.width 8 instead of 16"),
        (changed(learning_rate=0.1, batch_size=8), "batch_size 8 instead of 16, learning_rate 0.1 instead of 0.003"),
        (changed(augment=dataclasses.replace(STARTED.augment, shear_deg=1.0)), "augment.shear_deg 1.0 instead of 5.0"),
        (record(data="elsewhere/set"), "another path of the labelled set"),
        (record(sha256="abd"), "another content of the labelled set"),
        (record(start=StartPool(Path("/moved/first"), "123")), "another path of the pool to start from"),
        (record(start=StartPool(Path("/pools/first"), "124")), "another content of the pool to start from"),
        (record(start=None), "another path of the pool to start from, another content of the pool to start from"),
        (record(resources=Resources(cpus_per_trial=2)), "cpus_per_trial 2 instead of 1.0"),
        (record(resources=Resources(gpus_per_trial=1)), "gpus_per_trial 1 instead of 0.0"),
        (record() | {"sha256_of_seed_training": "0"}, "another hash of the settings"),
    ],
)
def test_any_other_difference_is_refused_by_name(asked: dict[str, object], found: str, tmp_path: Path) -> None:
    save_record(Storage.at(tmp_path), record())
    with pytest.raises(SettingsError) as refusal:
        refuse_another_training(Storage.at(tmp_path), asked)
    assert str(refusal.value) == (
        "training: can be resumed only as it was started, n_checkpoints and the Dice floor apart; "
        f"found {found}. Give what it was started with, or start another one in another storage folder."
    )


@pytest.mark.parametrize("content", ["{", "[1]", "7"])
def test_a_damaged_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_text(content)
    with pytest.raises(SettingsError, match="training.json must be the JSON that the training wrote"):
        refuse_another_training(Storage.at(tmp_path), record())


def test_unusable_places_are_refused_in_words_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    out, file, empty = tmp_path / "pool", tmp_path / "file", tmp_path / "empty"
    for storage, resume, text in (
        (file, False, "storage folder file: must be a folder; found a file."),
        (file / "below", False, "storage folder below: must be a folder; found a file above."),
        (Path("/proc/none"), False, "storage folder none: must be writable; found No such file or directory. Name"),
        (tmp_path / ("x" * 300), False, "must be writable; found File name too long."),
        (empty, True, "storage folder empty: must hold the training to resume; found no training.json."),
        (None, True, "training: can be resumed only from a storage folder; found none."),
    ):
        with pytest.raises((OutputError, SettingsError), match=re.escape(text)):
            refuse_unusable_places(out, storage, resume)
    with pytest.raises(OutputError, match=r"pool folder below: must be a folder; found a file above\."):
        refuse_unusable_places(file / "below", None, False)
    refuse_unusable_places(out, tmp_path / "new" / "storage", False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]
