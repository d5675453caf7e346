"""An evaluation from the command line to its files; interrupted, continued, and seen by MLflow."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from matplotlib.figure import Figure
from mlflow import MlflowClient
from typer.testing import CliRunner

from pool.errors import SettingsError
from pool.evaluation.rules import RULE_NAMES
from pool.figures.evaluation import number_log_axis
from pool.manifest import PoolManifest
from pool.member import Member, Pool
from pool.preprocess import PreparedSlice
from pool.sweep import MemberMaps
from tests.asl_samples import mixed_pool
from tune.cli.evaluate import evaluate as command
from tune.evaluation.evaluate import EvaluationSettings, SetResult, evaluate
from tune.evaluation.sources import TrueSlice
from tune.evaluation_tracking import log_evaluation

APP = typer.Typer()
APP.command()(command)
QUICK = EvaluationSettings(stride_px=16)
N_MEMBERS = 2


def ring_slice(number: int, has_truth: bool = True) -> TrueSlice:
    distance = np.hypot(*(np.indices((128, 128)) - 64 - number))
    labels = np.where(distance < 15, 2, np.where(distance < 24, 1, 0)).astype(np.uint8)
    frames = np.full((30, 128, 128), number / 10, np.float32)
    frames[:, labels == 1] = 0.9
    return TrueSlice(f"{number}", f"{number // 2}", "mid", frames, labels if has_truth else 0 * labels)


class Rings:
    """A source of four slices of three subjects, and one without myocardium in its labels."""

    origin = "drawn"

    def __init__(self, name: str = "rings", simulated: bool = False) -> None:
        self.name, self.simulated = name, simulated

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> TrueSlice:
        return ring_slice(index, has_truth=index != 2)


@pytest.fixture(scope="module")
def pool_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a mixed pool, the members of patches are evaluated."""
    folder = tmp_path_factory.mktemp("pool")
    mixed_pool(folder, N_MEMBERS)
    return folder


def fake_networks(patch: pytest.MonkeyPatch) -> list[int]:
    """Instead of networks: member i outlines the truth moved by 2i pixels, with U_tot rising; counts the sweeps."""
    made: list[int] = []

    def fake(self: Member, prepared: PreparedSlice, settings: Any) -> MemberMaps:
        member = self.entry.seed
        made.append(member)
        truth = ring_slice(round(float(prepared.frames[0, 0, 0]) * 10)).labels == 1
        mask = np.roll(truth, 2 * member, axis=0)
        nothing = np.zeros((3, 128, 128), np.float32)
        return MemberMaps(mask, nothing, nothing[0], 10.0 + member, int(mask.sum()))

    patch.setattr(Member, "analyse", fake)
    return made


@pytest.fixture
def fake_sweeps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return fake_networks(monkeypatch)


@pytest.fixture(scope="module")
def evaluated(pool_dir: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The command run once: one phantom subject and a labelled set."""
    out = tmp_path_factory.mktemp("out") / "evaluation"
    arguments = ["--pool", str(pool_dir), "--out", str(out), "--sets", f"exD-1,mine={data}"]
    result = CliRunner().invoke(APP, [*arguments, "--subjects", "1", "--stride", "16", "--threads", "1"])
    assert result.exit_code == 0, result.output
    return out, result.output


def test_the_tables_say_how_many_slices_and_subjects(evaluated: tuple[Path, str]) -> None:
    _, text = evaluated
    assert "exD-1 (phantom exD-1, seed 1): 3 slices of 1 subject  " in text
    assert ": 9 slices of 3 subjects" in text
    assert "min-u_pp against best-validation: two-tailed p" in text
    assert "24 sweeps with a stride of 16 px" in text
    assert max(map(len, text.split("The paper's tests")[0].splitlines())) <= 110


def test_the_report_is_strict_json_with_every_rule_and_member(evaluated: tuple[Path, str], pool_dir: Path) -> None:
    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    found = json.loads((evaluated[0] / "evaluation.json").read_text(), parse_constant=refuse)
    assert found["pool"]["sha256"] == PoolManifest.load(pool_dir).sha256()
    assert [(item["name"], item["n_slices"], item["n_subjects"]) for item in found["sets"]] == [
        ("exD-1", 3, 1),
        ("mine", 9, 3),
    ]
    assert set(found["sets"][0]["rules"]) == set(RULE_NAMES)
    assert set(found["sets"][0]["members"]) == {"s0-e01", "s1-e01"}
    assert [item["name"] for item in found["comparisons"]] == ["exD-1", "mine"]


def test_the_table_of_slices_agrees_with_the_report(evaluated: tuple[Path, str]) -> None:
    out, _ = evaluated
    rows = list(csv.DictReader((out / "slices.csv").open()))
    assert len(rows) == 12 * (N_MEMBERS + len(RULE_NAMES))
    report = json.loads((out / "evaluation.json").read_text())
    for rule in RULE_NAMES:
        of_rule = [float(row["dice"]) for row in rows if (row["set"], row["name"]) == ("mine", rule)]
        assert np.mean(of_rule) == pytest.approx(report["sets"][1]["rules"][rule]["dice"]["mean"])
    member = next(row for row in rows if row["kind"] == "member")
    assert (member["u_pp"] == "") == (member["ineligible"] == "the mask is empty")
    assert {row["hd95_mm"] for row in rows}.isdisjoint({"", "nan"})
    told = {row["name"]: row["why_failed"] for row in rows if (row["set"], row["slice"]) == ("exD-1", rows[0]["slice"])}
    (oracle,) = (row for row in rows[: N_MEMBERS + len(RULE_NAMES)] if row["name"] == "oracle")
    assert float(oracle["failed"]) == 1.0  # the networks are untrained
    assert oracle["why_failed"] == told[oracle["chosen"]] != ""
    assert told["members-mean"] == ""


def test_figures_are_there(evaluated: tuple[Path, str]) -> None:
    names = {"dice-by-rule.png", "uncertainty-and-dice.png", "outlines-exD-1.png", "outlines-mine.png"}
    for name in names:
        assert (evaluated[0] / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--sets", "mars"], "set: must be real, NAME=FOLDER"),
        (["--sets", "real", "--real-data", "nowhere"], "needs images/*.mat and labels/*.mat; found none in nowhere."),
        (
            ["--stride", "3"],
            "evaluation: the stride must divide the mask's, 16 px, as one sweep gives both maps; found",
        ),
        (["--stride", "32"], "maps; found 32 px. Take 2, 4, 8 or 16."),
        (["--stride", "0"], "maps; found 0 px. Take 2, 4, 8 or 16."),
        (["--threads", "0"], "evaluation: needs at least one thread; found 0."),
        (["--seed", "-1"], "evaluation: the seed must not be negative; found -1."),
        (["--device", "abacus"], "--device: must be a device torch can use here; found 'abacus'. Try cpu."),
        (["--subjects", "0"], "set inD: needs at least one subject; found 0."),
        (["--pool", "nowhere"], "pool folder nowhere: needs a manifest.json"),
        (["--out", "."], "must be new, empty or an earlier evaluation"),
        (["--out", __file__], "must be a folder that can be read; found a file."),
    ],
)
def test_the_command_refuses_in_one_sentence(
    arguments: list[str], text: str, pool_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parent)
    result = CliRunner().invoke(APP, ["--pool", str(pool_dir), "--out", str(tmp_path / "new"), *arguments])
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "new").exists()


def test_the_members_masks_are_measured_against_the_truth(
    pool_dir: Path, tmp_path: Path, fake_sweeps: list[int]
) -> None:
    found = evaluate(Pool.load(pool_dir), [Rings()], QUICK, tmp_path).sets[0]
    assert found.indices == (0, 1, 3, 4)
    assert found.n_without_truth == 1
    assert found.evaluated.n_subjects == 3
    for rule, dice in (("min-u_pp", 1.0), ("oracle", 1.0)):
        assert {outcome.dice for outcome in found.evaluated.of_rule(rule)} == {dice}
    assert {outcome.chosen for outcome in found.evaluated.of_rule("best-validation")} == {"s1-e01"}  # 0.6 against 0.5
    moved = found.evaluated.slices[0].measures["s1-e01"]
    assert moved.hd95_mm == pytest.approx(2 * 0.95)  # two pixels of a prepared slice
    assert found.evaluated.member_summary("s0-e01").n_chosen == 4


def test_an_interrupted_evaluation_sweeps_nothing_twice(
    pool_dir: Path, tmp_path: Path, fake_sweeps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, real_fake = Pool.load(pool_dir), Member.analyse

    def interrupted(*arguments: Any) -> MemberMaps | None:
        if len(fake_sweeps) == 3:
            raise KeyboardInterrupt
        return real_fake(*arguments)

    monkeypatch.setattr(Member, "analyse", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(pool, [Rings()], QUICK, tmp_path)
    monkeypatch.setattr(Member, "analyse", real_fake)
    progress: list[tuple[int, int]] = []
    found = evaluate(pool, [Rings()], QUICK, tmp_path, lambda done, total: progress.append((done, total)))
    assert (found.n_kept, found.n_swept, len(fake_sweeps)) == (3, 5, 8)
    assert progress[-1] == (5, 5)
    whole = evaluate(pool, [Rings()], QUICK, tmp_path / "other")
    assert [item.evaluated.outcomes for item in whole.sets] == [item.evaluated.outcomes for item in found.sets]
    evaluate(pool, [Rings()], EvaluationSettings(stride_px=8), tmp_path)  # another stride has sweeps of its own
    assert len(fake_sweeps) == 24


def test_a_damaged_file_of_kept_sweeps_is_made_again(pool_dir: Path, tmp_path: Path, fake_sweeps: list[int]) -> None:
    pool = Pool.load(pool_dir)
    evaluate(pool, [Rings()], QUICK, tmp_path)
    kept = sorted((tmp_path / "sweeps").rglob("*.npz"))
    assert len(kept) == 4
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    again = evaluate(pool, [Rings()], QUICK, tmp_path)
    assert (again.n_kept, again.n_swept) == (6, 2)


def test_a_shard_of_a_pool_and_a_set_without_truth_are_refused(
    pool_dir: Path, tmp_path: Path, fake_sweeps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match="evaluation: needs all members of the pool; found 1 of 4"):
        evaluate(Pool.load(pool_dir, member_ids=["s0-e01"]), [Rings()], QUICK, tmp_path)
    monkeypatch.setattr(Rings, "__getitem__", lambda _, index: ring_slice(index, has_truth=False))
    with pytest.raises(SettingsError, match="set rings: needs a slice with myocardium in its labels; found none"):
        evaluate(Pool.load(pool_dir), [Rings()], QUICK, tmp_path)


def runs_of(uri: str, experiment: str) -> dict[str, Any]:
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    return {run.info.run_name: run for run in found}


@pytest.fixture(scope="module")
def for_mlflow(pool_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    from tune.evaluation.pictures import write_pictures
    from tune.evaluation.report import write_report

    out = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        fake_networks(patch)
        evaluation = evaluate(Pool.load(pool_dir), [Rings("inD", simulated=True), Rings()], QUICK, out)
    write_report(evaluation, out)
    write_pictures(evaluation, out)
    return evaluation, out


def test_members_and_rules_reach_the_runs_of_the_training(for_mlflow: tuple[Any, Path], mlflow_uri: str) -> None:
    evaluation, out = for_mlflow
    client = MlflowClient(mlflow_uri)
    experiment = client.create_experiment("trained", artifact_location=(out / "artifacts").as_uri())
    sha256 = evaluation.pool.manifest.sha256()
    parent = client.create_run(experiment, run_name="pool", tags={"kind": "pool", "pool_sha256": sha256})
    for member_id in ("s0-e01", "s9-e09"):  # one member lost its run, one checkpoint is no member
        tags = {"mlflow.parentRunId": parent.info.run_id, "kind": "checkpoint", "member_id": member_id}
        client.set_terminated(client.create_run(experiment, run_name=member_id, tags=tags).info.run_id)
    assert log_evaluation(mlflow_uri, evaluation, out, "unused")

    found = runs_of(mlflow_uri, "trained")
    assert set(found) == {"pool", "s0-e01", "s1-e01", "s9-e09"}
    assert found["s9-e09"].data.metrics == {}
    item: SetResult = evaluation.sets[0]
    metrics = found["s1-e01"].data.metrics
    member = item.evaluated.member_summary("s1-e01")
    assert metrics["inD/mean_dice"] == pytest.approx(member.accuracy.dice.mean)
    assert metrics["inD/n_chosen"] == member.n_chosen
    assert {"inD/n_failed", "inD/mean_u_pp", "inD/sd_u_pp", "inD/mean_u_tot", "rings/mean_dice"} <= set(metrics)
    assert found["pool"].data.metrics["rings/min-u_pp/mean_dice"] == pytest.approx(
        evaluation.sets[1].evaluated.rule_accuracy("min-u_pp").dice.mean
    )
    sent = {file.path for file in client.list_artifacts(parent.info.run_id, "evaluation")}
    assert {"evaluation/slices.csv", "evaluation/outlines-inD.png", "evaluation/dice-by-rule.png"} <= sent
    assert "evaluation/outlines-rings.png" not in sent  # its pixels are no phantom's
    assert [f.path for f in client.list_artifacts(found["s1-e01"].info.run_id, "evaluation")] == [
        "evaluation/outline.png"
    ]


def test_a_pool_that_mlflow_does_not_know_gets_runs_once(
    pool_dir: Path, for_mlflow: tuple[Any, Path], tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluation, out = for_mlflow
    monkeypatch.setattr(PoolManifest, "sha256", lambda _: "0" * 64)
    assert log_evaluation(mlflow_uri, evaluation, out, "my evaluation", "evaluated")
    first = runs_of(mlflow_uri, "evaluated")
    assert set(first) == {"my evaluation", "s0-e01", "s1-e01"}
    assert {run.info.status for run in first.values()} == {"FINISHED"}
    assert log_evaluation(mlflow_uri, evaluation, out, "another name", "evaluated")
    assert set(runs_of(mlflow_uri, "evaluated")) == set(first)


def test_an_unreachable_mlflow_gives_one_warning(
    for_mlflow: tuple[Any, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("a store cannot lie inside a file")
    with caplog.at_level(logging.WARNING):
        assert not log_evaluation(f"sqlite:///{tmp_path}/file/mlflow.db", *for_mlflow, "unused")
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "tune.evaluation_tracking"]
    assert warning.startswith("MLflow could not be written to (")
    assert warning.endswith("); give the same command again once it can be: no slice is swept twice.")


@pytest.mark.parametrize(
    ("least", "greatest", "shown"),
    [(0.011, 0.025, ["0.015", "0.02", "0.025"]), (0.001, 0.04, ["0.001", "0.002", "0.005", "0.01", "0.02"])],
)
def test_a_log_axis_has_a_few_numbers_whatever_its_range(least: float, greatest: float, shown: list[str]) -> None:
    ax = Figure().subplots()
    ax.set_xscale("log")
    ax.set_xlim(least, greatest)
    number_log_axis(ax.xaxis)
    inside = [place for place in ax.xaxis.get_majorticklocs() if least <= place <= greatest]
    assert [ax.xaxis.get_major_formatter()(place) for place in inside] == shown
