"""The folder of a sweep: nobody else's files are touched, and it goes on as it was begun alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.errors import OutputError, SettingsError
from tests.tune.asl.test_asl_training import recipe
from tune.asl.sweep_folder import BETA_SWEEP, LAMBDA_SWEEP, RECORD, SCRATCH, claim_folder, remove_scratch


@pytest.mark.parametrize("name", ["trials", "images", "states", "pools", SCRATCH])
def test_a_folder_with_entries_of_whatever_name_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "years-of-work.txt").touch()
    with pytest.raises(OutputError, match=f"must be new, empty or of an earlier beta-sweep; found {name}"):
        claim_folder(tmp_path, BETA_SWEEP, recipe())
    assert (tmp_path / name / "years-of-work.txt").exists()
    assert not (tmp_path / RECORD).exists()


def test_a_claimed_folder_goes_on_with_its_kind_and_recipe_alone(tmp_path: Path) -> None:
    (tmp_path / f".{RECORD}.partial").touch()
    for _ in range(2):
        claim_folder(tmp_path, BETA_SWEEP, recipe())
    with pytest.raises(OutputError, match="of an earlier lambda-sweep; found beta-sweep"):
        claim_folder(tmp_path, LAMBDA_SWEEP, recipe())
    with pytest.raises(SettingsError, match="can go on only as it was begun; found n_epochs 3 instead of 6"):
        claim_folder(tmp_path, BETA_SWEEP, recipe(n_epochs=3))
    for text in ("no JSON", "[]", '{"kind": "of a chimney"}'):
        (tmp_path / RECORD).write_text(text)
        with pytest.raises(OutputError, match=r"found sweep\.json of something else"):
            claim_folder(tmp_path, BETA_SWEEP, recipe())


def test_only_its_own_is_removed(tmp_path: Path) -> None:
    claim_folder(tmp_path, BETA_SWEEP, recipe())
    for name in ("trials", "images", SCRATCH):
        (tmp_path / name).mkdir()
    remove_scratch(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {RECORD, "trials", "images"}
