"""Trainings that go on from a pool's members."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pool.errors import PoolFolderError, SettingsError, WeightsHashError
from pool.manifest import MemberEntry, PoolManifest, save_manifest
from pool.networks import build_network
from pool.weights import load_weights, save_weights
from tune.errors import TrainingError
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.start import StartPool
from tune.training import SeedTraining

Change = Callable[..., TrainingSettings]


def write_pool(folder: Path, settings: TrainingSettings, dice: dict[str, tuple[int, float]]) -> None:
    """A pool of untrained members: seed and validation Dice by id."""
    members = []
    for number, (member_id, (seed, validation_dice)) in enumerate(dice.items()):
        weights = build_network(settings.network, torch.Generator().manual_seed(number)).state_dict()
        sha256 = save_weights(folder, member_id, weights, half=True)
        members.append(MemberEntry(member_id, seed, 1, validation_dice, settings.network, sha256))
    save_manifest(folder, PoolManifest("first", tuple(members)))


@pytest.fixture
def folder(tmp_path: Path, changed: Change) -> Path:
    """Members of seeds 3 and 7."""
    write_pool(tmp_path, changed(), {"a": (3, 0.8), "b": (3, 0.9), "c": (7, 0.7)})
    return tmp_path


def test_a_seed_goes_on_from_the_best_member_of_the_pools_seed_in_its_turn(folder: Path, changed: Change) -> None:
    start = StartPool.at(folder, changed())
    assert [start.member_of(seed).id for seed in (1, 2, 3, 4)] == ["b", "c", "b", "c"]


@pytest.mark.parametrize("averaging_decay", [0.0, 0.9])
def test_training_begins_with_the_members_weights(
    folder: Path, changed: Change, rings: Samples, averaging_decay: float
) -> None:
    settings = changed(averaging_decay=averaging_decay)
    start = StartPool.at(folder, settings)
    training = SeedTraining(settings, 2, rings, rings.split(settings), start=StartPool.from_config(start.to_config()))
    of_c = load_weights(folder, PoolManifest.load(folder).members[2])
    for network in (training.network, training.member):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, of_c[name].to(tensor.dtype)), name


def test_a_checkpoint_of_another_start_is_refused(folder: Path, changed: Change, rings: Samples) -> None:
    settings = changed()
    split, start = rings.split(settings), StartPool.at(folder, settings)
    state = SeedTraining(settings, 1, rings, split, start=start).state()
    SeedTraining(settings, 1, rings, split, start=start).load_state(state)
    with pytest.raises(TrainingError, match="can resume only with the settings, data and start it"):
        SeedTraining(settings, 1, rings, split).load_state(state)


def test_another_network_or_another_pool_in_the_folder_is_refused(folder: Path, changed: Change) -> None:
    settings = changed()
    wider = replace(settings, network=replace(settings.network, width=2 * settings.network.width))
    with pytest.raises(SettingsError, match=r"pool first: can be started from only if its networks are the recipe's"):
        StartPool.at(folder, wider)
    start = StartPool.at(folder, settings)
    write_pool(folder, settings, {"a": (3, 0.1)})
    with pytest.raises(SettingsError, match=f"pool first: was {start.sha256[:12]} when the training was started"):
        start.weights_of(start.member_of(1))


def test_weights_that_seeds_start_from_are_verified_before_anything_starts(folder: Path, changed: Change) -> None:
    settings = changed()
    (folder / "a.safetensors").unlink()  # no seed starts from it
    StartPool.at(folder, settings)
    (folder / "c.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsHashError, match="member c: weights must have SHA-256"):
        StartPool.at(folder, settings)
    (folder / "c.safetensors").unlink()
    with pytest.raises(PoolFolderError, match=r"member c: needs its weights c\.safetensors; found no such file"):
        StartPool.at(folder, settings)
