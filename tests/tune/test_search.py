"""A search with real Ray and MLflow: interrupted, resumed, its table, its best recipe, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer
from mlflow import MlflowClient
from typer.testing import CliRunner

from pool.errors import OutputError, SettingsError
from pool.labelled_set import SliceEntry
from pool.labelled_set_writer import LabelledSetWriter
from pool.networks import NetworkSpec
from tests.tune.conftest import ring_slice
from tune.cli.options import chosen_settings
from tune.cli.search import search as search_command
from tune.resources import Resources
from tune.search import STARTED_NAME, run_search
from tune.search_outcome import TrialOutcome
from tune.search_space import SearchSettings
from tune.search_tracking import SearchTracking
from tune.settings import TrainingSettings
from tune.storage import JOB_VARIABLE

ONE_AFTER_THE_OTHER = Resources(cpus_per_trial=2)
"""Of two CPUs: the good configuration comes first, so the bad one meets its score."""


@pytest.fixture(scope="module")
def ring_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rings") / "set"
    with LabelledSetWriter(folder) as writer:
        for i in range(6):
            frames, labels = ring_slice(60 + 2 * (i % 4), 66 - 3 * (i % 3))
            writer.add(frames[None], labels[None], [SliceEntry(str(i // 3), f"slice-{i}")])
        writer.finish()
    return folder


@pytest.fixture(scope="module")
def search() -> SearchSettings:
    """A learning rate that finds rings in one epoch, and one that finds nothing."""
    base = TrainingSettings.quick(
        network=NetworkSpec(width=4, n_poolings=2),
        n_patches_per_slice=6,
        batch_size=6,
        n_warmup_steps=0,
        n_validation_slices=1,
        augment=None,
        precision="float32",
    )
    return SearchSettings(
        base,
        patch_px=(64,),
        stride_shares=(0.5,),
        learning_rates=(1e-2, 1e-6),
        n_epochs=3,
        reduction_factor=2,
    )


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("local_ray")
def test_a_search_that_was_interrupted_ends_with_its_table_and_a_recipe_to_train(
    ring_set: Path, search: SearchSettings, mlflow_uri: str, tmp_path: Path
) -> None:
    out = tmp_path / "search"

    def press_ctrl_c(trial: TrialOutcome, ended: bool) -> None:
        if len(trial.epochs) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run_search(search, ring_set, out, mlflow_uri, press_ctrl_c, ONE_AFTER_THE_OTHER)
    assert not (out / "search.json").exists()
    with pytest.raises(SettingsError, match=r"only as it was started; found search\.n_epochs 4 instead of 3\. Give"):
        run_search(
            SearchSettings(**{**vars(search), "n_epochs": 4}),
            ring_set,
            out,
            None,
            None,
            ONE_AFTER_THE_OTHER,
            resume=True,
        )

    seen: list[tuple[str, int, bool]] = []
    good, bad = run_search(
        search,
        ring_set,
        out,
        mlflow_uri,
        lambda trial, ended: seen.append((trial.id, len(trial.epochs), ended)),
        ONE_AFTER_THE_OTHER,
        resume=True,
    )
    assert (good.configuration.learning_rate, good.n_epochs, good.n_stopped) == (1e-2, 3, 0)
    assert (bad.configuration.learning_rate, bad.n_epochs, bad.n_stopped) == (1e-6, 1, 1)
    assert good.validation_dice > 0.2 > bad.validation_dice  # 0.55 and 0; one that calls all myocardium scores 0.12
    assert [report.epoch for report in good.trials[0].epochs] == [1, 2, 3]
    assert ("c01-s1", 1, False) not in seen
    assert seen[-1] == ("c02-s1", 1, True)
    assert sorted(path.name for path in out.iterdir() if path.suffix in (".json", ".csv")) == [
        "best.json",
        "search-started.json",
        "search.csv",
        "search.json",
    ]
    assert not (out / "trials").exists()
    best = chosen_settings(None, out / "best.json", {}, {})
    assert best == good.configuration.recipe(search.base)
    assert json.loads((out / "search.json").read_text())["configurations"][1]["n_stopped"] == 1

    client = MlflowClient(mlflow_uri)
    experiment = client.get_experiment_by_name("perfusion-pool-search")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"search", "c01-s1", "c02-s1"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    parent_id = runs["search"].info.run_id
    assert runs["search"].data.metrics["best_validation_dice"] == pytest.approx(good.validation_dice)
    for name, stopped, rate in (("c01-s1", "false", "0.01"), ("c02-s1", "true", "1e-06")):
        assert runs[name].data.tags["mlflow.parentRunId"] == parent_id
        assert (runs[name].data.tags["stopped"], runs[name].data.params["learning_rate"]) == (stopped, rate)
    curve = client.get_metric_history(runs["c01-s1"].info.run_id, "validation_dice")
    assert {point.step for point in curve} == {1, 2, 3}
    with pytest.raises(OutputError, match=r"search folder search: must not hold a finished search; found search\.json"):
        run_search(search, ring_set, out, resume=True)


def test_an_mlflow_that_cannot_be_reached_costs_one_warning(
    search: SearchSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a store cannot lie inside a file")
    outcome = TrialOutcome(search.configurations()[0], 1, (), False, "a reason")
    with SearchTracking(f"sqlite:///{tmp_path}/file/mlflow.db") as tracking:
        tracking.start("search", search, "hash")
        tracking.log_trial(outcome, True)
    assert [record.getMessage() for record in caplog.records if record.name == "tune.search_tracking"] == [
        "MLflow could not be written to (FileExistsError); the search goes on without it."
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--patch", "24"], "training: patch_px must be a multiple of 16 for this network; found 24."),
        (["--patch", "inf"], "--patch takes numbers with commas between them; found 'inf'."),
        (["--patch", "big"], "--patch takes numbers with commas between them; found 'big'."),
        (
            ["--loss", "focal"],
            "training: loss must be one of cross-entropy, binary-cross-entropy, dice, cross-entropy+dice, tversky",
        ),
        (["--preset", "quick", "--epochs", "1", "--grace", "2"], "search: grace_epochs must lie from 1 to 1; found 2."),
        (["--resume"], "search folder out: must hold the search to resume; found no search-started.json."),
        (["--out", "."], "must be new or empty; found other files. Resume it with --resume, or name another folder."),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    app = typer.Typer()
    app.command()(search_command)
    result = CliRunner().invoke(app, ["--data", ".", "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


def test_a_set_is_looked_for_on_every_node_before_the_folder_is_used(
    ring_set: Path, search: SearchSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Path]] = []

    def on_no_other_node(_: Resources, folders: dict[str, Path], __: object) -> None:
        asked.append(folders)
        raise SettingsError("labelled set", "must be the same on every node")

    monkeypatch.setattr("tune.search.running_ray", lambda _: nullcontext())
    monkeypatch.setattr("tune.search.refuse_unshared", on_no_other_node)
    monkeypatch.chdir(ring_set.parent)
    for _ in range(2):  # a second try is no resume
        with pytest.raises(SettingsError, match="must be the same on every node"):
            run_search(search, Path(ring_set.name), tmp_path / "out")
    assert asked == [{f"labelled set {ring_set.name}": ring_set.resolve()}] * 2
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    with pytest.raises(
        OutputError, match=r"search folder out: must be an absolute path in a submitted job; .* Ray del"
    ):
        run_search(search, ring_set, Path("out"))


@pytest.mark.parametrize(
    ("sent", "code", "started", "text"),
    [
        (signal.SIGTERM, 143, True, "Stopped; the search is kept in {out}; the same command with --resume continues"),
        (signal.SIGINT, 130, False, "Stopped; the search is not kept."),
    ],
)
def test_a_search_that_is_stopped_says_what_is_kept(
    sent: signal.Signals, code: int, started: bool, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        if started:
            (tmp_path / STARTED_NAME).touch()
        signal.raise_signal(sent)

    monkeypatch.setattr("tune.search.run_search", stopped)
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray may have left its own
    app = typer.Typer()
    app.command()(search_command)
    result = CliRunner().invoke(app, ["--data", "set", "--out", str(tmp_path)])
    signal.signal(signal.SIGINT, usual)
    assert result.exit_code == code
    assert text.format(out=tmp_path) in result.output
