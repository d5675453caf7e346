"""What a search tries, and what it refuses before anything is trained."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pool.errors import SettingsError
from pool.networks import NetworkSpec
from tune.samples import Samples
from tune.search_space import Configuration, SearchSettings
from tune.settings import TrainingSettings
from tune.suitable import refuse_unsuitable


def test_the_default_grid_is_the_papers_question() -> None:
    search = SearchSettings(TrainingSettings.paper())
    found = [(c.patch_px, c.stride_px) for c in search.configurations()]
    assert found == [(16, 8), (16, 4), (32, 16), (32, 8), (64, 32), (64, 16)]
    assert {(c.learning_rate, c.loss) for c in search.configurations()} == {(5e-4, "cross-entropy")}


def test_what_depends_on_the_patch_size_goes_with_it() -> None:
    base = TrainingSettings.paper()
    recipe = Configuration(1, 16, 8, 1e-3, "dice").recipe(base)
    expected = {"patch_px": 16, "stride_px": 8, "learning_rate": 1e-3, "loss": "dice"}
    # sixteen times as many patches of a sixteenth of the pixels, and as many of them over each pixel
    assert recipe == dataclasses.replace(base, **expected, n_patches_per_slice=360 * 16, validation_stride_px=4)
    assert Configuration(5, 64, 32, 5e-4, "cross-entropy").recipe(base) == base
    search = SearchSettings(base, seeds=(1, 2), n_epochs=4)
    trial = search.trial_settings(search.configurations()[4])
    assert trial == dataclasses.replace(base, n_epochs=4, n_checkpoints=1, seeds=(1, 2))


def test_draws_differ_stay_in_their_ranges_and_are_the_same_again() -> None:
    search = SearchSettings(
        TrainingSettings.paper(), learning_rates=(1e-4, 1e-2), losses=("dice", "tversky"), n_drawn=18, draw_seed=3
    )
    drawn = search.configurations()
    assert drawn == dataclasses.replace(search).configurations()
    assert drawn != dataclasses.replace(search, draw_seed=4).configurations()
    assert len({(c.patch_px, c.stride_px, c.loss) for c in drawn[:12]}) == 12  # every choice once before any twice
    assert all(1e-4 <= c.learning_rate <= 1e-2 for c in drawn)
    assert len({c.learning_rate for c in drawn}) == 18
    assert 4 <= sum(c.learning_rate < 1e-3 for c in drawn) <= 14  # 1e-3 is the middle of the logarithms


@pytest.mark.parametrize(
    ("base", "changes", "text"),
    [
        ({}, {"patch_px": (24,)}, "training: patch_px must be a multiple of 16 for this network; found 24."),
        ({}, {"patch_px": (256,)}, "patch grid: patch_px must be from 1 to 128; found 256."),
        (
            {},
            {"stride_shares": (0.3,)},
            "stride must be whole pixels, at least one; found 0.3 of a patch of 16 px, 4.8.",
        ),
        ({}, {"stride_shares": (0.75,)}, "patch grid: stride_px must divide 128 - 16, or the last pixels stay uncov"),
        ({"validation_stride_px": 2}, {}, "validation stride must be whole pixels, at least one; found 0.03125 of a"),
        (
            {},
            {"losses": ("dice", "focal")},
            "loss must be one of cross-entropy, binary-cross-entropy, dice, cross-entropy+dice, tversky; fou",
        ),
        ({}, {"losses": ("dice", "dice")}, "losses must be different values, one at least; found ['dice', 'dice']."),
        ({}, {"learning_rates": ()}, "learning_rates must be different values, one at least; found []."),
        ({}, {"grace_epochs": 16}, "search: grace_epochs must lie from 1 to 15; found 16."),
        ({}, {"reduction_factor": 1}, "search: reduction_factor must lie from 2 to 100; found 1."),
        ({}, {"n_drawn": 7}, "can draw 1 to 6 different configurations; found 7. Draw fewer, or vary more."),
    ],
)
def test_what_cannot_be_trained_is_refused_in_words(base: dict[str, Any], changes: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        SearchSettings(TrainingSettings.paper(**base), **changes)
    assert text in str(refusal.value)


def test_a_set_that_a_recipe_cannot_train_on_is_refused(rings: Samples) -> None:
    recipe = TrainingSettings.quick()
    split = rings.split(recipe)
    refuse_unsuitable(rings, split, recipe)
    small = dataclasses.replace(
        rings, shards=tuple(shard[..., :32, :32] for shard in rings.shards), labels=rings.labels[:, :32, :32]
    )
    with pytest.raises(SettingsError, match=r"patch grid: patch_px must be from 1 to 32; found 64\."):
        refuse_unsuitable(small, split, recipe)
    for network, text in (
        (NetworkSpec(n_frames=20), r"labelled set: needs 20 frames a slice; found 30\. Set n_frames"),
        (NetworkSpec(n_classes=2), r"network: needs the 3 classes of the set; found 2\. Set n_classes"),
    ):
        with pytest.raises(SettingsError, match=text):
            refuse_unsuitable(rings, split, dataclasses.replace(recipe, network=network))
    with pytest.raises(SettingsError, match="an epoch must fill a batch of 10000 patches; found 18 patches of 9"):
        refuse_unsuitable(rings, split, dataclasses.replace(recipe, batch_size=10_000))
