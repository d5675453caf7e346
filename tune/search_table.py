"""What a search leaves behind: search.json, search.csv, best.json, and a table to look at."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pool.errors import OutputError
from tune.assemble import software
from tune.search_outcome import RankedConfiguration, TrialOutcome
from tune.search_space import SearchSettings

RESULT_NAME = "search.json"
CSV_NAME = "search.csv"
BEST_NAME = "best.json"


def write_search(
    out_dir: Path, search: SearchSettings, ranked: Sequence[RankedConfiguration], data_sha256: str
) -> None:
    """Write best.json and search.csv, then search.json: a folder with a search.json holds a whole search.

    Args:
        out_dir: exists.
        search: what was tried.
        ranked: best first; the first has not failed.
        data_sha256: of the labelled set.

    Raises:
        OutputError: a file cannot be written.
    """
    best = ranked[0].configuration.recipe(search.base)
    result = {
        "search": search.to_dict(),
        "data_sha256": data_sha256,
        "software": software(),
        "configurations": [
            {**row.to_row(place), "trials": [_trial_fields(trial) for trial in row.trials]}
            for place, row in enumerate(ranked, start=1)
        ],
    }
    _write(out_dir / BEST_NAME, json.dumps(best.to_dict(), indent=1) + "\n")
    _write(out_dir / CSV_NAME, _csv([row.to_row(place) for place, row in enumerate(ranked, start=1)]))
    _write(out_dir / RESULT_NAME, json.dumps(result, indent=1) + "\n")


def search_table(ranked: Sequence[RankedConfiguration]) -> Table:
    """The configurations, best first; a dash stands where one has failed."""
    table = Table(title="Configurations by validation Dice of the myocardium, best first")
    for heading in ("patch", "stride", "rate", "loss", "validation Dice", "epochs", "stopped", "patches/s"):
        table.add_column(heading, justify="left" if heading == "loss" else "right")
    for row in ranked:
        configuration = row.configuration
        n_seeds = len(row.trials)
        stopped = ("yes" if row.n_stopped else "no") if n_seeds == 1 else f"{row.n_stopped} of {n_seeds}"
        table.add_row(
            f"{configuration.patch_px} px",
            f"{configuration.stride_px} px",
            f"{configuration.learning_rate:.3g}",
            configuration.loss,
            f"{row.validation_dice:.3f}" if row.failure is None else "-",
            str(row.n_epochs),
            stopped if row.failure is None else "failed",
            f"{row.n_patches_per_s:.0f}",
        )
    return table


def _trial_fields(trial: TrialOutcome) -> dict[str, Any]:
    return {
        "id": trial.id,
        "seed": trial.seed,
        "validation_dice": trial.validation_dice if trial.failure is None else None,
        "stopped": trial.unfinished,
        "failure": trial.failure,
        "epochs": [epoch.to_dict() for epoch in trial.epochs],
    }


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OutputError(f"file {path.name}", "must be writable", error.strerror or type(error).__name__) from error
