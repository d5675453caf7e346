from __future__ import annotations

import pytest

from pool.errors import SettingsError
from pool.networks import NetworkSpec
from tune.augment_settings import AugmentSettings
from tune.resources import Resources
from tune.settings import TrainingSettings


def test_the_default_is_the_papers_recipe() -> None:
    recipe = TrainingSettings()
    assert recipe == TrainingSettings.paper()
    assert len(recipe.seeds) * recipe.n_checkpoints == 50
    assert (recipe.network.width, recipe.network.n_poolings) == (64, 4)
    assert (recipe.patch_px, recipe.stride_px, recipe.batch_size, recipe.n_epochs) == (64, 32, 128, 15)
    assert recipe.n_patches_per_slice == 9 * 40
    assert recipe.augment == AugmentSettings(60.0, 10.0, 2.0, (0.8, 1.2), 0.5, (0.0, 5.0), 0.5, (0.5, 1.5))


@pytest.mark.parametrize(
    "settings", [TrainingSettings(), TrainingSettings.quick(), TrainingSettings.quick(augment=None)]
)
def test_json_and_back_keeps_settings_and_hash(settings: TrainingSettings) -> None:
    again = TrainingSettings.from_dict(settings.to_dict())
    assert again == settings
    assert again.sha256() == settings.sha256()


def test_the_hash_changes_with_any_setting() -> None:
    hashes = {
        TrainingSettings.quick(**changes).sha256()
        for changes in ({}, {"seeds": (1, 3)}, {"augment": AugmentSettings(shear_deg=9.0)}, {"learning_rate": 1e-3})
    }
    assert len(hashes) == 4


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seeds": (1, 1)}, "seeds must be different numbers of at least 0; found [1, 1]."),
        ({"seeds": (1, 2.5)}, "training: seeds must be whole; found 2.5. Write it without a fraction."),
        ({"batch_size": 16.5}, "training: batch_size must be whole; found 16.5."),
        ({"n_validation_slices": 1.5}, "training: n_validation_slices must be whole; found 1.5."),
        ({"n_checkpoints": 9}, "n_checkpoints cannot exceed n_epochs; found 9 checkpoints of 8 epochs. Train longer"),
        (
            {"loss": "focal"},
            "one of cross-entropy, binary-cross-entropy, dice, cross-entropy+dice, tversky; found 'focal'.",
        ),
        ({"tversky_beta": 1.1}, "training: tversky_beta must lie from 0.0 to 1.0; found 1.1."),
        ({"learning_rate": 0.0}, "learning_rate must be above 0 and at most 1; found 0.0."),
        ({"validation_share": 1.0}, "validation_share must lie between 0 and 1; found 1.0."),
        ({"stride_px": 30}, "stride_px must divide 128 - 64"),
        ({"network": NetworkSpec(n_poolings=6), "patch_px": 96}, "patch_px must be a multiple of 64 for this network"),
        (
            {"network": NetworkSpec(kind="mcd-unet")},
            "training: patches train networks of kind unet; found mcd-unet. Train whole images with",
        ),
        ({"precision": "float16"}, "precision must be one of auto, float32, bfloat16; found 'float16'."),
    ],
)
def test_nonsense_is_refused_in_words(changes: dict[str, object], text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        TrainingSettings.quick(**changes)
    assert text in str(refusal.value)


def test_nonsense_ranges_and_resources_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"scale must rise from at least 0\.001; found 1\.2 to 0\.8\."):
        AugmentSettings(scale=(1.2, 0.8))
    with pytest.raises(SettingsError, match=r"gamma_p is a probability from 0 to 1; found 1\.5\."):
        AugmentSettings(gamma_p=1.5)
    with pytest.raises(SettingsError, match=r"found 0 CPUs, 0 GPUs, 2 retries\."):
        Resources(cpus_per_trial=0)


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(SettingsError, match="unknown or missing fields.*n_epoch"):
        TrainingSettings.from_dict({**TrainingSettings().to_dict(), "n_epoch": 3})


def test_every_figure_of_the_papers_appendix_is_the_default() -> None:
    recipe = TrainingSettings.paper()
    assert (recipe.learning_rate, recipe.schedule, recipe.halving_epochs) == (5e-4, "halving", 2)
    assert (recipe.patience_epochs, recipe.loss, recipe.weight_decay) == (5, "cross-entropy", 0.0)
    assert (recipe.validation_stride_px, recipe.least_validation_dice) == (16, 0.87)
    assert round(recipe.validation_share * 85) == 10
    assert 381 * recipe.n_patches_per_slice == 137_160  # the training patches of 381 series
