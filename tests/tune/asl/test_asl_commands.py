"""`python -m tune asl train` and `... evaluate` on a handful of phantom studies."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from pool.manifest import PoolManifest
from pool.networks import NetworkSpec
from tests.asl_samples import mixed_pool
from tests.samples import tiny_pool
from tune.__main__ import app

RUNNER = CliRunner()
TRAIN = ("asl", "train", "--studies", "4", "--width", "2", "--poolings", "1", "--epochs", "2", "--threads", "1")
TEST = ("--studies", "2", "--trials", "4", "--bootstrap-trials", "12", "--threads", "1")


def test_training_leaves_a_pool_and_its_curves(tmp_path: Path, mlflow_uri: str) -> None:
    words = (*TRAIN, "--preset", "quick", "--seeds", "2", "--images", "control", "--loss", "tversky", "--beta", "0.3")
    done = RUNNER.invoke(app, [*words, "--out", str(tmp_path / "pool"), "--mlflow", mlflow_uri, "--name", "my-asl"])
    assert done.exit_code == 0, done.output
    assert "seed 2, epoch 2 of 2: loss" in done.output
    manifest = PoolManifest.load(tmp_path / "pool")
    assert manifest.name == "my-asl"
    assert [member.seed for member in manifest.members] == [1, 2]
    assert manifest.members[0].network == NetworkSpec("mcd-unet", 2, 1, 1, 3)
    settings = manifest.provenance["settings"]
    assert (settings["images"], settings["loss"], settings["tversky_beta"]) == ("control", "tversky", 0.3)
    client = MlflowClient(mlflow_uri)
    experiments = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.pool_sha256 = '{manifest.sha256()}'")
    assert run.info.status == "FINISHED"
    assert run.data.params["network.kind"] == "mcd-unet"
    seed_runs = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and tags.seed = '1'")
    history = client.get_metric_history(seed_runs[0].info.run_id, "validation_dice")
    assert [point.step for point in history] == [1, 2]


def test_an_evaluation_leaves_tables_figures_and_metrics(tmp_path: Path, mlflow_uri: str) -> None:
    manifest = tiny_pool(tmp_path / "pool", 1, NetworkSpec("mcd-unet", 4, 2, 1, 3))
    words = ["asl", "evaluate", "--pool", str(tmp_path / "pool"), "--out", str(tmp_path / "out"), *TEST]
    done = RUNNER.invoke(app, [*words, "--mlflow", mlflow_uri])
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out" / "asl.json").read_text())
    with (tmp_path / "out" / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["kind"] for row in rows] == ["control", "labelled"] * 2
    mean, _ = report["summary"]["dice"]["all"]
    assert mean == pytest.approx(sum(float(row["dice"]) for row in rows) / 4)
    assert f"Dice of 4 images: all {mean:.3f}" in done.output
    assert report["member"]["weights_sha256"] == manifest.members[0].weights_sha256
    assert set(report["trials"]) == {"least", "greatest"}
    for name in ("uncertainties.png", "image-quality.png", "examples.png", "trials.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    client = MlflowClient(mlflow_uri)
    experiments = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.pool_sha256 = '{manifest.sha256()}'")
    assert run.data.metrics["asl/inD/mean_dice_all"] == pytest.approx(mean)
    assert "asl/asl.json" in [item.path for item in client.list_artifacts(run.info.run_id, "asl")]

    shutil.copytree(tmp_path / "out", tmp_path / "first")
    again = RUNNER.invoke(app, [*words, "--compare", str(tmp_path / "first")])  # replaces the earlier one
    assert again.exit_code == 0, again.output
    assert "that of first: R2 1.000 over 4 images" in again.output
    assert "Dice +0.000" in again.output
    other = RUNNER.invoke(app, [*words[:4], "--out", str(tmp_path / "x"), *TEST, "--compare", str(tmp_path / "pool")])
    assert "folder pool: must hold an ASL evaluation's images.csv" in other.output
    others = RUNNER.invoke(
        app, [*words[:4], "--out", str(tmp_path / "x"), *TEST, "--seed", "5", "--compare", str(tmp_path / "first")]
    )
    assert others.exit_code == 2
    assert "evaluation first: must be of the same test images" in others.output
    assert json.loads((tmp_path / "out" / "asl.json").read_text()) == report
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    refused = RUNNER.invoke(app, words)
    assert refused.exit_code == 2
    assert "must be new, empty or an earlier ASL evaluation; found thesis.tex" in refused.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ("--preset", "slow"),
            "preset must be one of paper, quick, thorough, prob-paper, prob-quick; found 'slow'.",
        ),
        (("--preset", "quick", "--settings", "x.json"), "takes either --preset or --settings; found both."),
        (("--settings", "nowhere.json"), "settings nowhere.json: must be a file"),
        (("--threads", "0"), "--threads: must be at least 1; found 0."),
        (("--loss", "focal"), "loss must be one of"),
        (("--beta", "0.3"), "--beta: belongs to the tversky loss; found loss dice."),
        (("--kl-weight", "1"), "--kl-weight: belongs to a prob-unet; found mcd-unet."),
    ],
)
def test_nonsense_is_refused_before_anything_is_simulated(
    tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    done = RUNNER.invoke(app, [*TRAIN, "--out", str(tmp_path / "pool"), *words])
    assert done.exit_code == 2
    assert sentence in done.output
    assert "simulated" not in done.output


def test_members_that_sweep_patches_are_refused(tmp_path: Path) -> None:
    tiny_pool(tmp_path / "pool", 1)
    words = ("asl", "evaluate", "--pool", str(tmp_path / "pool"), "--out", str(tmp_path / "out"), *TEST)
    done = RUNNER.invoke(app, words)
    assert done.exit_code == 2
    assert "pool tiny: needs members of trials for ASL; found patches alone." in done.output
    mixed_pool(tmp_path / "pool")
    missing = RUNNER.invoke(app, [*words, "--member", "s9"])
    assert "pool mixed: has the members s0-e01, s1-e01, mcd-unet, prob-unet; found 's9'." in missing.output
    sweeps = RUNNER.invoke(app, [*words, "--member", "s0-e01"])
    assert "trials: need a network that answers by chance, of kind mcd-unet or prob-unet; found UNet." in sweeps.output


def test_an_evaluation_in_bfloat16_says_so_and_finds_much_the_same(tmp_path: Path) -> None:
    tiny_pool(tmp_path / "pool", 1, NetworkSpec("mcd-unet", 4, 2, 1, 3))
    words = ["asl", "evaluate", "--pool", str(tmp_path / "pool"), *TEST]
    found = {}
    for precision in ("float32", "bfloat16"):
        out = tmp_path / precision
        done = RUNNER.invoke(app, [*words, "--precision", precision, "--out", str(out)])
        assert done.exit_code == 0, done.output
        found[precision] = json.loads((out / "asl.json").read_text())
        assert found[precision]["settings"]["precision"] == precision
    one, other = (found[name]["summary"]["dice"]["all"][0] for name in ("float32", "bfloat16"))
    assert one == pytest.approx(other, abs=0.01)
    assert found["float32"]["summary"] != found["bfloat16"]["summary"]
    refused = RUNNER.invoke(app, [*words, "--precision", "half", "--out", str(tmp_path / "x")])
    assert refused.exit_code == 2
    assert "precision must be one of auto, float32, bfloat16; found 'half'." in refused.output
