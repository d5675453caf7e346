"""Training without Ray: the same numbers as the loop alone gives, seeds in processes that share what they train on."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from pool.member import Pool
from pool.phantom.labelled_set import write_labelled_set
from pool.phantom.presets import get_preset
from tests.architecture.test_imports import import_with_blocked
from tune.alone import __main__ as command
from tune.alone.phantom_samples import simulate_samples
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.training import SeedTraining


def run(monkeypatch: pytest.MonkeyPatch, *options: object) -> int:
    monkeypatch.setattr(sys, "argv", ["tune.alone", "--device", "cpu", *map(str, options)])
    return command.main()


@pytest.fixture
def recipe(tiny: TrainingSettings, tmp_path: Path) -> Path:
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(tiny.to_dict()))
    return path


def test_members_are_those_of_the_loop_itself_and_every_checkpoint_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path, tiny: TrainingSettings, recipe: Path
) -> None:
    kept = tmp_path / "kept"
    options = ("--data", data, "--settings", recipe, "--out", tmp_path / "pool", "--at-once", 2, "--keep", kept)
    assert run(monkeypatch, *options) == 0
    pool = Pool.load(tmp_path / "pool")
    assert sorted(member.entry.id for member in pool.members) == ["s1-e01", "s1-e02", "s2-e01", "s2-e02"]
    assert len(list(kept.iterdir())) == 4
    torch.set_num_threads(1)
    samples = Samples.open(data)
    assert pool.manifest.provenance["data_sha256"] == samples.data_sha256
    alone = SeedTraining(tiny, 2, samples, samples.split(tiny))
    reports = list(alone.epochs())
    member = next(member for member in pool.members if member.entry.id == "s2-e02")
    assert member.entry.validation_dice == reports[-1].validation_dice
    for name, tensor in alone.weights().items():
        assert torch.equal(tensor, member.network.state_dict()[name]), name


def test_too_few_good_checkpoints_or_a_seed_that_fails_give_no_pool_but_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: Path, recipe: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pool"
    changed = json.loads(recipe.read_text()) | {"seeds": [1], "n_epochs": 1, "n_checkpoints": 1}
    recipe.write_text(json.dumps(changed))
    assert run(monkeypatch, "--data", data, "--settings", recipe, "--out", out, "--floor", 1) == 2
    assert "seed 1: needs 1 checkpoints with a validation Dice of at least 1" in capfd.readouterr().err
    changed["augment"]["contrast"] = [3e38, 3e38]  # overflows: the loss is no number
    recipe.write_text(json.dumps(changed))
    assert run(monkeypatch, "--data", data, "--settings", recipe, "--out", out) == 2
    assert "must train to its end; found exit code 1" in capfd.readouterr().err
    assert not out.exists()


def test_simulated_samples_are_those_of_a_set_on_disk(tmp_path: Path) -> None:
    preset, said = get_preset("inD"), []
    made = simulate_samples(preset, 6, 4, "cpu", lambda *counts: said.append(counts))
    write_labelled_set(tmp_path / "set", preset, 6, 4)
    stored = Samples.open(tmp_path / "set")
    for i in range(6):
        assert torch.equal(made.frames_of(i), stored.frames_of(i))
    assert torch.equal(made.labels, stored.labels)
    assert made.subject_ids == stored.subject_ids
    assert said == [(6, 6)]
    assert made.data_sha256 != simulate_samples(preset, 6, 5, "cpu", lambda *_: None).data_sha256


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "needs either --data or --phantom; found neither"),
        (("--phantom", "inD", "--n-slices", 4), "must be a positive multiple of 3"),
        (("--phantom", "inD", "--at-once", 0), "--at-once must be at least 1; found 0"),
    ],
)
def test_bad_options_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: tuple[object, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "--out", tmp_path / "pool", *options) == 2
    assert sentence in capsys.readouterr().err


def test_it_imports_where_only_torch_numpy_scipy_and_safetensors_are() -> None:
    blocked = {"ray", "mlflow", "typer", "rich", "pydantic", "pydicom", "monai", "jaxtyping", "matplotlib", "nibabel"}
    assert import_with_blocked(["tune.alone.__main__", "tune.evaluation.evaluate", "tune.throughput"], blocked) == ""
