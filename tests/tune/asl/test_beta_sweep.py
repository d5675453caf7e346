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
from pool.evaluation.partial_volume import errors_of, moved_outlines, thick, thin
from pool.phantom.asl import AslStudy
from pool.trials.settings import TrialSettings
from tests.tune.asl.test_asl_training import recipe, rings
from tune.__main__ import app
from tune.asl.beta_sweep import sweep_betas
from tune.asl.images import phantom_studies


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
    assert thicker.n_segments > 12
    assert thicker.n_empty == 0


def ring_studies() -> list[AslStudy]:
    """Rings as the training's, in a study's clothes."""
    images, study = rings(6), phantom_studies("inD", 1, 1)[0]
    return [
        replace(study, control=images.pixels[i][None], labelled=images.pixels[i + 1][None], labels=images.labels[i])
        for i in range(0, 12, 2)
    ]


def test_beta_makes_outlines_thick_and_a_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    settings, trials, told = recipe(n_epochs=5), TrialSettings(4, batch_size=4), []
    arguments = (settings, (0.1, 0.9), rings(12), ring_studies(), tmp_path, trials)
    found = sweep_betas(*arguments, on_network=told.append)
    low, high = (point.errors for point in found.points)
    assert low.n_false_positive < high.n_false_positive
    assert low.n_false_negative > high.n_false_negative
    assert found.monotone() == (True, True)
    assert [errors.name for errors in told] == ["beta-0.1", "beta-0.9", "binary-cross-entropy", "dice"]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(times) == 4
    again = sweep_betas(*arguments)
    assert again.to_dict() == found.to_dict()
    assert {path: path.stat().st_mtime_ns for path in times} == times
    with pytest.raises(SettingsError, match="network beta-0.1: must have been trained alike"):
        sweep_betas(recipe(n_epochs=3), *arguments[1:])
    with pytest.raises(SettingsError, match=r"at least two betas that rise, and one seed; found \[0.5, 0.1\]"):
        sweep_betas(settings, (0.5, 0.1), *arguments[2:])


def test_the_command_leaves_figure_report_and_curves(tmp_path: Path, mlflow_uri: str) -> None:
    settings = recipe(n_epochs=1).to_dict()
    (tmp_path / "recipe.json").write_text(json.dumps(settings))
    words = ["asl", "sweep", "--out", str(tmp_path / "out"), "--settings", str(tmp_path / "recipe.json")]
    words += ["--studies", "4", "--test-studies", "2", "--trials", "2", "--betas", "0.2,0.8", "--threads", "1"]
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
    assert [point.step for point in history] == [20, 80]
    refused = CliRunner().invoke(app, [*words[:3], str(tmp_path), *words[4:]])
    assert refused.exit_code == 2
    assert "must be new, empty or an earlier beta sweep" in refused.output
