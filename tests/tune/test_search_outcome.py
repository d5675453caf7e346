"""Ranking, files and table of a search, from outcomes made up by hand; and the scheduler's memory."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pool.errors import PoolError
from tune.search_outcome import TrialOutcome, rank
from tune.search_space import Configuration, SearchSettings
from tune.search_table import search_table, write_search
from tune.search_trials import SCORE, LastingASHA, search_trial
from tune.settings import TrainingSettings
from tune.training import EpochReport, SeedTraining

FIRST, SECOND, THIRD = (Configuration(i, px, px // 2, 1e-3, "dice") for i, px in ((1, 16), (2, 32), (3, 64)))


def epochs(*dices: float) -> tuple[EpochReport, ...]:
    return tuple(EpochReport(1, i, 0.5, dice, 1e-3, 100.0 * i, 1.0, 1.0) for i, dice in enumerate(dices, start=1))


OUTCOMES = [
    TrialOutcome(FIRST, 1, epochs(0.5), unfinished=True),
    TrialOutcome(SECOND, 1, epochs(0.9), unfinished=False, failure="seed 1, epoch 2: the loss must stay finite"),
    TrialOutcome(THIRD, 2, epochs(0.6, 0.7), unfinished=False),
    TrialOutcome(THIRD, 1, epochs(0.6, 0.9, 0.8), unfinished=False),
    TrialOutcome(FIRST, 2, epochs(0.4, 0.6), unfinished=True),
    TrialOutcome(SECOND, 2, (), unfinished=False),
]


def test_configurations_are_ranked_by_the_mean_of_their_seeds_best_epochs() -> None:
    third, first, second = rank(OUTCOMES)
    assert [row.configuration for row in (third, first, second)] == [THIRD, FIRST, SECOND]
    assert third.to_row(1) == {
        "rank": 1,
        "configuration": 3,
        "patch_px": 64,
        "stride_px": 32,
        "learning_rate": 1e-3,
        "loss": "dice",
        "validation_dice": pytest.approx((0.9 + 0.7) / 2),
        "n_epochs": 3,
        "n_seeds": 2,
        "n_stopped": 0,
        "n_patches_per_s": pytest.approx((200 + 150) / 2),
        "failure": None,
    }
    assert (first.validation_dice, first.n_stopped) == (pytest.approx(0.55), 2)
    assert second.to_row(3)["validation_dice"] is None
    assert second.failure == "seed 1, epoch 2: the loss must stay finite"


def test_files_and_table_hold_the_same_rows(tmp_path: Path) -> None:
    search = SearchSettings(TrainingSettings.paper(), learning_rates=(1e-3,), losses=("dice",))
    ranked = rank(OUTCOMES)
    write_search(tmp_path, search, ranked, "hash")
    written = json.loads((tmp_path / "search.json").read_text())
    assert (written["search"], written["data_sha256"]) == (search.to_dict(), "hash")
    assert [row["configuration"] for row in written["configurations"]] == [3, 1, 2]
    assert [trial["id"] for trial in written["configurations"][0]["trials"]] == ["c03-s1", "c03-s2"]
    assert [e["validation_dice"] for e in written["configurations"][0]["trials"][0]["epochs"]] == [0.6, 0.9, 0.8]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "search.csv").read_text())))
    assert [(row["rank"], row["patch_px"], row["validation_dice"][:4]) for row in rows] == [
        ("1", "64", "0.8"),
        ("2", "16", "0.55"),
        ("3", "32", ""),
    ]
    best = TrainingSettings.from_dict(json.loads((tmp_path / "best.json").read_text()))
    assert best == TrainingSettings.paper(loss="dice", learning_rate=1e-3)  # seeds and epochs of the training to come
    text = io.StringIO()
    Console(file=text, width=120).print(search_table(ranked))
    lines = [" ".join(line.replace("│", " ").split()) for line in text.getvalue().splitlines() if " px" in line]
    assert lines == [
        "64 px 32 px 0.001 dice 0.800 3 0 of 2 175",
        "16 px 8 px 0.001 dice 0.550 2 2 of 2 125",
        "32 px 16 px 0.001 dice - 1 failed 50",
    ]


def scheduler() -> LastingASHA:
    return LastingASHA(time_attr="epoch", metric=SCORE, mode="max", max_t=4, grace_period=1, reduction_factor=2)


def trial(name: str, *dices: float) -> Any:
    history = [report.to_dict() for report in epochs(*dices)]
    return SimpleNamespace(trial_id=name, last_result={"epochs": history} if history else {})


def test_a_restored_trial_tells_the_scheduler_what_it_reached() -> None:
    schedule, bad = scheduler(), trial("bad")
    schedule.on_trial_add(None, trial("good", 0.5, 0.4, 0.8))
    schedule.on_trial_add(None, bad)
    assert schedule.on_trial_result(None, bad, {"epoch": 1, SCORE: 0.3}) == LastingASHA.STOP
    other = trial("other")
    schedule.on_trial_add(None, other)
    assert schedule.on_trial_result(None, other, {"epoch": 1, SCORE: 0.6}) == LastingASHA.CONTINUE
    # the score at epoch 2 is the best so far, 0.5, not that epoch's 0.4
    assert schedule.on_trial_result(None, other, {"epoch": 2, SCORE: 0.45}) == LastingASHA.STOP


def test_a_training_that_fails_is_an_outcome_with_its_reason(
    data: Path, tiny: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SeedTraining) -> Any:
        yield from epochs(0.5)
        raise PoolError("seed 1", "must go on", "nothing")

    told: list[dict[str, Any]] = []
    monkeypatch.setattr(SeedTraining, "epochs", fail)
    monkeypatch.setattr("ray.tune.report", lambda result, **_: told.append(result))
    monkeypatch.setattr("ray.tune.get_checkpoint", lambda: None)
    common = {"data_dir": str(data), "n_threads": 1, "device": "cpu"}
    search_trial({**common, "number": 1, "trials": [{}, {"seed": 1, "settings": tiny.to_dict()}]})
    assert [result.get("epoch") for result in told] == [1, None]
    assert told[1]["failure"] == "seed 1: must go on; found nothing."
    assert told[1]["epochs"] == told[0]["epochs"] == [epochs(0.5)[0].to_dict()]
