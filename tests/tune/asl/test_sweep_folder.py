"""The folder of a sweep: nobody else's files are touched, and it goes on as it was begun alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.tune import Result
from typer.testing import CliRunner

from pool.errors import OutputError, SettingsError
from tests.tune.asl.test_asl_training import recipe
from tune.__main__ import app
from tune.asl.beta_sweep import recipes_of as beta_recipes
from tune.asl.kl_sweep import recipes_of as kl_recipes
from tune.asl.settings import AslTrainingSettings
from tune.asl.sweep_folder import BETA_SWEEP, GO_ON, LAMBDA_SWEEP, RECORD, SCRATCH, claim_folder, remove_scratch
from tune.failures import error_of
from tune.precision import resolve_precision


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


def test_betas_and_weights_that_nearly_agree_have_networks_of_their_own() -> None:
    near = (0.1, 0.10000001)
    assert list(beta_recipes(recipe(), near))[:2] == ["beta-0.1", "beta-0.10000001"]
    assert list(kl_recipes(recipe(), near)) == ["lambda-0.1", "lambda-0.10000001"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("sweep", "--betas", "0.5,0.1"), "needs at least two betas that rise"),
        (("sweep", "--test-studies", "1"), "needs at least two betas that rise, one seed and two test studies"),
        (("sweep", "--out", "{file}"), "folder file: must be a folder; found a file"),
        (("sweep", "--out", "{foreign}"), "must be new, empty or of an earlier beta-sweep; found trials"),
        (("kl-sweep", "--preset", "quick"), "needs a prob-unet, at least two weights that rise, and one seed"),
        (("kl-sweep", "--out", "{begun}"), "must be new, empty or of an earlier lambda-sweep; found beta-sweep"),
        (("sweep", "--out", "{begun}", "--epochs", "7"), "can go on only as it was begun; found n_epochs 7 instead of"),
    ],
)
def test_the_commands_refuse_before_anything_is_simulated(
    tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "foreign" / "trials").mkdir(parents=True)
    paper = AslTrainingSettings.paper(precision=resolve_precision("auto", "cpu"))
    claim_folder(tmp_path / "begun", BETA_SWEEP, paper)
    given = [word.format(**{name: tmp_path / name for name in ("file", "foreign", "begun")}) for word in words]
    out = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, ["asl", *given, *out])
    assert done.exit_code == 2
    assert sentence in done.output
    assert "simulated" not in done.output


def test_a_failed_network_names_the_sweeps_own_remedy() -> None:
    result = Result(metrics=None, checkpoint=None, path="/out/.sweep/trials/one", error=ValueError("odd"))
    said = str(error_of(result, "network beta-0.1", f"folder out/{SCRATCH}", GO_ON))
    assert "ValueError: odd. Tracebacks: trials/one/error.txt in folder out/.sweep; the same command goes on" in said
    assert "--resume" not in said
