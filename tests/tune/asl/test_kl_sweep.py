"""The sweep over lambda, and outlines moved on purpose: what they leave, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from pool.errors import OutputError, SettingsError
from pool.evaluation.asl import ImageRow
from pool.manifest import PoolManifest
from pool.member import Member
from pool.networks import NetworkSpec
from pool.trials.settings import TrialSettings
from tests.tune.asl.test_asl_training import recipe, rings
from tune.__main__ import app
from tune.asl.images import AslImages
from tune.asl.kl_report import log_kl_sweep, point_in_words, write_kl_sweep
from tune.asl.kl_sweep import KlPoint, sweep_kl_weights
from tune.asl.networks import LatentFit, TestedNetwork, latent_fit
from tune.asl.sweep_folder import BETA_SWEEP, LAMBDA_SWEEP, refuse_foreign_folder
from tune.asl.training import AslTraining

PROB = NetworkSpec("prob-unet", 4, 1, 1, 2)


@pytest.mark.usefixtures("local_ray")
def test_a_sweep_tells_of_every_network_and_all_of_it_is_written(tmp_path: Path, mlflow_uri: str) -> None:
    settings = recipe(network=PROB, loss="binary-cross-entropy", n_epochs=2)
    images, told = rings(12), []
    tested = images.chosen(range(8))
    arguments = (settings, (0.01, 100.0), images, tested, tmp_path, TrialSettings(4, batch_size=4))
    found = sweep_kl_weights(*arguments, on_network=told.append)
    cheap, dear = found.points
    assert cheap.divergence != dear.divergence
    pool = tmp_path / "pools" / "lambda-100.0"
    member = Member.load(pool, PoolManifest.load(pool).entry_of())
    assert latent_fit(member.network, settings, tested, "cpu") == LatentFit(dear.loss, dear.divergence)
    assert {point.kl_weight for point in told} == {0.01, 100.0}
    assert found.recipe_of(dear).kl_weight == 100.0
    files = write_kl_sweep(found, tmp_path)
    report = json.loads((tmp_path / "lambda-sweep.json").read_text())
    assert [row["kl_weight"] for row in report["weights"]] == [0.01, 100.0]
    assert report["weights"][1]["divergence"] == dear.divergence
    assert (tmp_path / "lambda-sweep.png").read_bytes().startswith(b"\x89PNG")
    assert log_kl_sweep(mlflow_uri, found, files)
    client = MlflowClient(mlflow_uri)
    experiments = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(experiments, "tags.kind = 'lambda-sweep'")
    assert [point.step for point in client.get_metric_history(run.info.run_id, "divergence")] == [10, 100_000]
    below = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert {child.data.params["kl_weight"] for child in below} == {"0.01", "100.0"}
    refuse_foreign_folder(tmp_path, LAMBDA_SWEEP)
    with pytest.raises(OutputError, match="new, empty or of an earlier beta-sweep; found lambda-sweep"):
        refuse_foreign_folder(tmp_path, BETA_SWEEP)
    with pytest.raises(SettingsError, match="network lambda-0.01: must have been trained alike"):
        sweep_kl_weights(replace(settings, n_epochs=3), *arguments[1:])


def test_a_dear_divergence_becomes_small() -> None:
    images, divergences = rings(12), []
    training, validation = images.split(0.3)
    for weight in (0.01, 100.0):
        changes = {"loss": "binary-cross-entropy", "n_epochs": 10, "n_validation_trials": 1, "kl_weight": weight}
        run = AslTraining(recipe(network=PROB, **changes), 1, training, validation)
        assert list(run.epochs())[-1].validation_dice > 0.8
        divergences.append(latent_fit(run.network, run.settings, validation, "cpu").divergence)
    assert divergences[0] > 5 * divergences[1] > 0


def test_a_sweep_over_nothing_sensible_is_refused(tmp_path: Path) -> None:
    images = rings(6)
    rest = (images, images, tmp_path, TrialSettings(2))
    with pytest.raises(SettingsError, match=r"needs a prob-unet, .* found mcd-unet, \[0.1, 1.0\], 1 seeds"):
        sweep_kl_weights(recipe(), (0.1, 1.0), *rest)
    with pytest.raises(SettingsError, match=r"weights that rise, and one seed; found prob-unet, \[1.0, 0.1\], 2 seeds"):
        sweep_kl_weights(recipe(network=PROB, seeds=(1, 2)), (1.0, 0.1), *rest)


def test_a_point_is_of_all_images_and_its_agreement_of_those_with_an_outline() -> None:
    scores = ((0.9, 0.2, 0.02), (0.8, 0.4, 0.04), (0.7, 0.6, 0.06), (0.0, None, 0.0))
    rows = tuple(ImageRow(str(i), "control", dice, 1, 1, mcd, u, 2.0) for i, (dice, mcd, u) in enumerate(scores))
    point = KlPoint.of(2.0, TestedNetwork("lambda-2", rows, LatentFit(0.25, 1.5), ()))
    assert point.dice[0] == pytest.approx(0.6)
    assert point.mcd_uncertainty == pytest.approx(0.4)
    assert point.uncertainties is not None
    assert (point.uncertainties.n, point.uncertainties.slope) == (3, pytest.approx(10))
    expected = "lambda     2: Dice 0.600 ± 0.354, loss 0.2500, divergence 1.500, R2 of both uncertainties 1.00"
    assert point_in_words(point) == expected
    alone = KlPoint.of(2.0, TestedNetwork("lambda-2", rows[3:], LatentFit(0.25, 1.5), ()))
    assert (alone.mcd_uncertainty, alone.uncertainties) == (None, None)
    assert point_in_words(alone).endswith("R2 of both uncertainties none")


def test_images_come_back_from_their_file(tmp_path: Path) -> None:
    images = rings(2)
    images.save(tmp_path / "folder" / "images.npz")
    assert AslImages.load(tmp_path / "folder" / "images.npz").sha256() == images.sha256()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="must be written"):
        images.save(tmp_path / "file" / "images.npz")


def test_moved_outlines_leave_a_figure_and_a_report(tmp_path: Path) -> None:
    words = ["asl", "partial-volume", "--studies", "4", "--seed", "3", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "out" / "partial-volume.json").read_text())
    thick = report["thick"]
    assert f"flow {thick['flow_bias']:+.2f} mL/min/g over {thick['n_segments']} segments" in done.output
    assert report["thin"]["errors"]["n_false_positive"] == 0
    assert (tmp_path / "out" / "partial-volume.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").touch()
    refused = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "file")])
    assert refused.exit_code == 2
    assert "folder file: must be a folder; found a file" in refused.output
