"""The sweep over beta: errors counted, direction, resumed, refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from pool.errors import SettingsError
from pool.evaluation.asl import ImageRow
from pool.evaluation.paired_change import bootstrap_interval, means_of_subjects, paired_change
from pool.evaluation.partial_volume import OutlineErrors, errors_of, moved_outlines, thick, thin
from pool.phantom.asl import AslStudy
from pool.trials.settings import TrialSettings
from tests.tune.asl.test_asl_training import recipe, rings
from tune.__main__ import app
from tune.asl.beta_sweep import BetaStep, sweep_betas
from tune.asl.images import phantom_studies
from tune.asl.networks import TestedNetwork, train_and_test
from tune.asl.sweep_folder import STATES
from tune.asl.train import train_asl
from tune.precision import resolve_precision
from tune.reports import EpochReport


def test_errors_by_hand_and_outlines_a_pixel_thinner_and_thicker() -> None:
    truth = np.zeros((9, 9), bool)
    truth[2:7, 2:7] = True
    assert thin(truth).sum() == 9
    assert thick(truth).sum() == 25 + 4 * 5
    found = errors_of("both", [(thin(truth), truth), (thick(truth), truth)])
    assert (found.n_false_positive, found.n_false_negative) == (10, 8)
    assert found.balance == 2
    assert found.dice[0] == pytest.approx((2 * 9 / 34 + 2 * 25 / 70) / 2)


def test_thick_outlines_take_in_what_is_not_muscle() -> None:
    thinner, thicker = moved_outlines(phantom_studies("inD", 4, 3))
    assert thinner.errors.n_false_positive == 0
    assert thicker.errors.n_false_negative == 0
    assert thicker.flow_bias is not None
    assert abs(thicker.flow_bias) > 0.1
    assert len(thicker.segments) > 12
    assert thicker.flow is not None
    assert thicker.to_dict()["n_segments"] == len(thicker.segments)
    assert thicker.n_empty == 0


def ring_studies() -> list[AslStudy]:
    """Rings as the training's, in a study's clothes."""
    images, study = rings(6), phantom_studies("inD", 1, 1)[0]
    return [
        replace(
            study,
            seed=i,
            control=images.pixels[i][None],
            labelled=images.pixels[i + 1][None],
            labels=images.labels[i],
        )
        for i in range(0, 12, 2)
    ]


@pytest.mark.usefixtures("local_ray")
def test_beta_makes_outlines_thick_and_a_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    settings, trials, told = recipe(n_epochs=5), TrialSettings(4, batch_size=4), []
    arguments = (settings, (0.1, 0.9), rings(12), ring_studies(), tmp_path, trials)
    found = sweep_betas(*arguments, on_network=told.append)
    low, high = (point.errors for point in found.points)
    assert low.n_false_positive < high.n_false_positive
    assert low.n_false_negative > high.n_false_negative
    (step,) = found.steps
    assert step.betas == (0.1, 0.9)
    assert step.false_positive.mean == pytest.approx(high.n_false_positive - low.n_false_positive)
    assert step.false_positive.low <= step.false_positive.mean <= step.false_positive.high
    assert step.shown == (True, True)
    assert found.monotone() == (True, True)
    assert found.shown() == (True, True)
    assert found.to_dict()["all_steps_beyond_noise"] == [True, True]
    assert found.settings.precision == resolve_precision("auto", "cpu")
    assert {errors.name for errors in told} == {"beta-0.1", "beta-0.9", "binary-cross-entropy", "dice"}
    assert [network.name for network in found.networks] == ["beta-0.1", "beta-0.9", "binary-cross-entropy", "dice"]
    assert [len(network.epochs) for network in found.networks] == [5] * 4
    assert {path.name for path in tmp_path.iterdir()} == {"pools", "sweep.json"}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(times) == 4
    again = sweep_betas(*arguments)
    assert again.to_dict() == found.to_dict()
    assert {path: path.stat().st_mtime_ns for path in times} == times
    with pytest.raises(
        SettingsError, match=r"network beta-0.1: must have been trained alike; found n_epochs 5 instead"
    ):
        sweep_betas(recipe(n_epochs=3), *arguments[1:])
    with pytest.raises(SettingsError, match=r"betas that rise, one seed and two test studies; found \[0.5, 0.1\]"):
        sweep_betas(settings, (0.5, 0.1), *arguments[2:])


def test_a_trial_goes_on_with_the_network_that_was_cut_off(tmp_path: Path) -> None:
    settings, images, trials = recipe(n_epochs=4), rings(12), TrialSettings(2, batch_size=2)
    tested = images.chosen(range(6))

    def stop(report: EpochReport) -> None:
        if report.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_asl(settings, images, tmp_path / "pools" / "one", storage=tmp_path / STATES / "one", on_epoch=stop)
    found = train_and_test("one", settings, images, tested, tmp_path, trials)
    assert [report.epoch for report in found.epochs] == [3, 4]
    whole = train_and_test("other", settings, images, tested, tmp_path, trials)
    assert whole.rows == found.rows
    assert TestedNetwork.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert train_and_test("one", settings, images, tested, tmp_path, trials).epochs == ()


def row(dice: float, wrong: int, missed: int, study: str) -> ImageRow:
    return ImageRow(study, "control", dice, wrong, missed, 1.0, 0.1, 1.0)


def test_steps_say_what_the_noise_between_subjects_allows() -> None:
    subjects = [str(i) for i in range(12)]
    before = [float(10 + i) for i in range(12)]
    same = paired_change(before, before, subjects)
    assert (same.mean, same.low, same.high, same.rises, same.falls) == (0, 0, 0, False, False)
    risen = paired_change(before, [value + 2 + i % 2 for i, value in enumerate(before)], subjects)
    assert risen.mean == 2.5
    assert 2 < risen.low < 2.5 < risen.high < 3
    assert risen.rises
    noisy = paired_change(before, [value + (9 if i % 2 else -8) for i, value in enumerate(before)], subjects)
    assert noisy.low < 0 < noisy.high
    step = BetaStep((0.1, 0.2), noisy, risen)
    assert step.monotone == (True, False)
    assert step.shown == (False, False)
    assert list(means_of_subjects([1, 3, 5], ["b", "a", "b"])) == [3, 3]
    with pytest.raises(SettingsError, match="of two subjects at least; found 2, 2 and 2"):
        paired_change([1, 2], [1, 2], ["a", "a"])


def test_the_interval_is_that_of_the_normal_distribution_for_many_subjects() -> None:
    values = np.random.default_rng(3).standard_normal(400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_errors_of_rows_are_means_over_images() -> None:
    found = OutlineErrors.of("any", [row(0.5, 4, 2, "a"), row(0.9, 6, 6, "b")])
    assert (found.n_false_positive, found.n_false_negative, found.dice[0]) == (5, 4, pytest.approx(0.7))


@pytest.mark.usefixtures("local_ray")
def test_the_command_leaves_figure_report_and_curves(tmp_path: Path, mlflow_uri: str) -> None:
    settings = recipe(n_epochs=1).to_dict()
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    words = ["asl", "sweep", "--out", str(tmp_path / "out"), "--settings", str(tmp_path / "recipe.json")]
    words += ["--studies", "4", "--test-studies", "2", "--trials", "2", "--betas", "0.2,0.8"]
    done = CliRunner().invoke(app, [*words, "--mlflow", mlflow_uri])
    assert done.exit_code == 0, done.output
    assert "beta-0.8" in done.output
    assert "thick" in done.output
    report = json.loads((tmp_path / "out" / "beta-sweep.json").read_text())
    assert [point["beta"] for point in report["betas"]] == [0.2, 0.8]
    assert (tmp_path / "out" / "beta-sweep.png").read_bytes().startswith(b"\x89PNG")
    client = MlflowClient(mlflow_uri)
    experiments = [item.experiment_id for item in client.search_experiments()]
    (run,) = client.search_runs(experiments, "tags.kind = 'beta-sweep'")
    history = client.get_metric_history(run.info.run_id, "false_positives")
    assert [point.step for point in history] == [200, 800]
    below = client.search_runs(experiments, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    assert {child.info.run_name for child in below} == {"beta-0.2", "beta-0.8", "binary-cross-entropy", "dice"}
    assert {child.data.params["loss"] for child in below} == {"tversky", "binary-cross-entropy", "dice"}
    assert all("validation_dice" in child.data.metrics and "mean_dice" in child.data.metrics for child in below)
    refused = CliRunner().invoke(app, [*words[:3], str(tmp_path), *words[4:]])
    assert refused.exit_code == 2
    assert "must be new, empty or of an earlier beta-sweep; found " in refused.output
