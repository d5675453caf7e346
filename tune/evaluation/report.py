"""An evaluation as files: `evaluation.json` for programs, `slices.csv` for tables and statistics elsewhere."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pool import __version__
from pool.errors import OutputError
from pool.evaluation.rules import MEMBERS_MEAN, NOTHING_OUTLINED, RULE_NAMES, MeasuredSlice, RuleOutcome
from pool.evaluation.statistics import SIGNIFICANT
from pool.results import NOT_FOR_DIAGNOSIS
from tune.evaluation.evaluate import Evaluation, SetResult
from tune.evaluation.sweeps import FOLDER

REPORT, TABLE = "evaluation.json", "slices.csv"
COLUMNS = (
    "set",
    "slice",
    "subject",
    "level",
    "kind",
    "name",
    "chosen",
    "dice",
    "hd95_mm",
    "failed",
    "why_failed",
    "u_pp",
    "u_tot",
    "ineligible",
    "regret",
)
"""Of `slices.csv`: `kind` is `member` or `rule`, `name` the member's id or the rule's name."""


def refuse_foreign_folder(out_dir: Path) -> None:
    """Refuse a folder that holds something else, before hours of sweeps.

    Raises:
        OutputError: a file, a folder that cannot be read, or one with other files than an evaluation's.
    """
    try:
        names = [path.name for path in out_dir.iterdir()] if out_dir.exists() else []
    except OSError as error:
        found = "a file" if out_dir.is_file() else error.strerror or ""
        remedy = "Give another --out."
        raise OutputError(f"{out_dir.name}", "must be a folder that can be read", found, remedy) from error
    if names and not {REPORT, FOLDER} & set(names):
        rule = "must be new, empty or an earlier evaluation"
        raise OutputError(f"folder {out_dir.name}", rule, names[0], "Give another --out.")


def write_report(evaluation: Evaluation, out_dir: Path) -> None:
    """Write `evaluation.json` and `slices.csv`, each whole or not at all.

    Infinite distances (nothing outlined) are the text `inf` in both, since JSON has no number for them.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = json.dumps(_finite(report_fields(evaluation)), indent=1, allow_nan=False) + "\n"
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for item in evaluation.sets:
        writer.writerows(_rows(item))
    write_whole(out_dir / TABLE, table.getvalue().encode())
    write_whole(out_dir / REPORT, text.encode())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(data)
        os.replace(partial, path)
    except OSError as error:
        found, remedy = error.strerror or str(error), "Mend that and give the same command again: sweeps are kept."
        raise OutputError(f"file {path.name}", "must be writable", found, remedy) from error


def report_fields(evaluation: Evaluation) -> dict[str, Any]:
    """All numbers of an evaluation but those of single slices."""
    manifest = evaluation.pool.manifest
    return {
        "software": f"perfusion-pool {__version__}",
        "notice": NOT_FOR_DIAGNOSIS,
        "pool": {"name": manifest.name, "sha256": manifest.sha256(), "n_members": manifest.n_members},
        "settings": evaluation.settings.to_dict(),
        "sets": [_set_fields(item) for item in evaluation.sets],
        "comparisons": [asdict(comparison) for comparison in evaluation.comparisons()],
        "significant_below": SIGNIFICANT,
    }


def _set_fields(item: SetResult) -> dict[str, Any]:
    evaluated = item.evaluated
    return {
        "name": evaluated.name,
        "origin": item.source.origin,
        "sha256": item.sha256,
        "n_slices": len(evaluated.slices),
        "n_subjects": evaluated.n_subjects,
        "n_without_truth": item.n_without_truth,
        "rules": {
            rule: {**asdict(evaluated.rule_accuracy(rule)), "mean_regret": evaluated.mean_regret(rule)}
            for rule in RULE_NAMES
        },
        "members": {member_id: asdict(evaluated.member_summary(member_id)) for member_id in evaluated.member_ids},
    }


def _rows(item: SetResult) -> Iterator[dict[str, object]]:
    evaluated = item.evaluated
    for measured, outcomes in zip(evaluated.slices, evaluated.outcomes):
        where = {
            "set": evaluated.name,
            "slice": measured.name,
            "subject": measured.subject,
            "level": measured.level,
        }
        for score in sorted(measured.scores, key=lambda score: score.member_id):
            measure = measured.measures[score.member_id]
            yield {
                **where,
                "kind": "member",
                "name": score.member_id,
                "dice": measure.dice,
                "hd95_mm": measure.hd95_mm,
                "failed": int(measure.failed),
                "why_failed": "; ".join(measure.why_failed),
                "u_pp": score.u_pp,
                "u_tot": score.u_tot,
                "ineligible": score.ineligible,
            }
        for rule, outcome in outcomes.items():
            yield {
                **where,
                "kind": "rule",
                "name": rule,
                "chosen": outcome.chosen,
                "dice": outcome.dice,
                "hd95_mm": outcome.hd95_mm,
                "failed": outcome.failed,
                "why_failed": "; ".join(_why_failed(measured, outcome)),
                "regret": outcome.regret,
            }


def _why_failed(measured: MeasuredSlice, outcome: RuleOutcome) -> tuple[str, ...]:
    """Of the outline that a rule believed; a mean of members has no reasons."""
    if outcome.rule == MEMBERS_MEAN:
        return ()
    measure = measured.measures[outcome.chosen] if outcome.chosen is not None else NOTHING_OUTLINED
    return measure.why_failed


def _finite(fields: Any) -> Any:
    """The same fields with infinity as text."""
    if isinstance(fields, dict):
        return {key: _finite(value) for key, value in fields.items()}
    if isinstance(fields, list | tuple):
        return [_finite(value) for value in fields]
    return "inf" if isinstance(fields, float) and math.isinf(fields) else fields
