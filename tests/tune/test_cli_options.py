"""Which recipe a command line means."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pool.errors import SettingsError
from tune.cli.options import chosen_settings, numbers, whole_numbers
from tune.settings import TrainingSettings


def test_a_file_holds_a_whole_recipe_and_options_still_change_it(tmp_path: Path) -> None:
    recipe = TrainingSettings.quick(loss="dice", patch_px=32, stride_px=16, validation_stride_px=16)
    (tmp_path / "best.json").write_text(json.dumps(recipe.to_dict()))
    assert chosen_settings(None, tmp_path / "best.json", {"n_epochs": None}, {"width": None}) == recipe
    changed = chosen_settings(None, tmp_path / "best.json", {"n_epochs": 20}, {"width": 8})
    assert changed == dataclasses.replace(recipe, n_epochs=20, network=dataclasses.replace(recipe.network, width=8))


def test_without_a_file_the_preset_counts_and_the_papers_is_the_default() -> None:
    assert chosen_settings(None, None, {}, {}) == TrainingSettings.paper()
    assert chosen_settings("quick", None, {"seeds": (1,)}, {}) == TrainingSettings.quick(seeds=(1,))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "settings best.json: must be a file; found No such file or directory."),
        ("{", "settings best.json: must be JSON; found"),
        ("[1]", "settings best.json: must be one object of fields; found list."),
        ("{}", "training settings: have unknown or missing fields; found 'network'."),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(content: str | None, text: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "best.json").write_text(content)
    with pytest.raises(SettingsError) as refusal:
        chosen_settings(None, tmp_path / "best.json", {}, {})
    assert text in str(refusal.value)


def test_two_recipes_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"takes either --preset or --settings; found both\."):
        chosen_settings("quick", tmp_path, {}, {})
    with pytest.raises(SettingsError, match=r"preset must be one of paper, quick; found 'fast'\."):
        chosen_settings("fast", None, {}, {})


def test_lists_of_numbers() -> None:
    assert numbers("5e-4, 1e-3", "--learning-rate") == (5e-4, 1e-3)
    assert whole_numbers("16,32", "--patch") == (16, 32)
    with pytest.raises(SettingsError, match=r"--patch takes numbers with commas between them; found 'a,b'\."):
        whole_numbers("a,b", "--patch")
    with pytest.raises(SettingsError, match=r"--patch takes whole numbers .* found '1\.5'\."):
        whole_numbers("1.5", "--patch")
