"""The folder of a sweep: what is its own there, and what it was begun with.

    sweep.json    kind of the sweep and its recipe, written before anything else
    pools/        trained networks, a pool each
    .sweep/       of a sweep that runs or was cut off: images, trials of Ray Tune, states of networks in training

Nothing else in the folder is ever touched, and a folder that is neither empty nor has such a record is refused.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pool.errors import OutputError, SettingsError
from tune.asl.settings import AslTrainingSettings
from tune.evaluation.report import write_whole
from tune.record import differing_fields
from tune.storage import Storage, refuse_unwritable

RECORD = "sweep.json"
POOLS = "pools"
SCRATCH = ".sweep"
TRIALS_FOLDER, IMAGES_FOLDER, STATES = f"{SCRATCH}/trials", f"{SCRATCH}/images", f"{SCRATCH}/states"
"""What Tune writes, what trials read, and networks in training."""
BETA_SWEEP, LAMBDA_SWEEP = "beta-sweep", "lambda-sweep"
"""Kinds of sweep."""
GO_ON = "the same command goes on where it was"
"""How a sweep that failed is taken up."""
_REMEDY = "Give another --out."


def refuse_foreign_folder(out_dir: Path, kind: str) -> None:
    """Refuse a folder that is not the sweep's, before hours of training.

    Args:
        out_dir: of the sweep.
        kind: of the sweep.

    Raises:
        OutputError: it is a file, cannot be written, or holds something else than a sweep of this kind.
    """
    refuse_unwritable(f"folder {out_dir.name}", out_dir)
    rule = f"must be new, empty or of an earlier {kind}"
    names = sorted(path.name for path in out_dir.iterdir()) if out_dir.exists() else []
    if RECORD in names:
        if (found := _kind(out_dir / RECORD)) != kind:
            raise OutputError(f"folder {out_dir.name}", rule, found or f"{RECORD} of something else", _REMEDY)
        return
    foreign = [name for name in names if name != f".{RECORD}.partial"]  # left by a sweep killed while it began
    if foreign:
        raise OutputError(f"folder {out_dir.name}", rule, foreign[0], _REMEDY)


def refuse_another_sweep(out_dir: Path, kind: str, recipe: AslTrainingSettings) -> None:
    """Refuse to go on with a sweep that was begun with another recipe.

    Args:
        out_dir: of the sweep; a new one is not refused.
        kind: of the sweep.
        recipe: common to all networks.

    Raises:
        OutputError: as `refuse_foreign_folder`.
        SettingsError: the recipe differs from the recorded one.
    """
    refuse_foreign_folder(out_dir, kind)
    if not (out_dir / RECORD).exists():
        return
    differing = differing_fields(Storage.at(out_dir), RECORD, _record(kind, recipe), f"folder {out_dir.name}", kind)
    if differing:
        rows = [f"{key.removeprefix('recipe.')} {asked} instead of {was}" for key, (asked, was) in differing.items()]
        remedy = "Give what it was begun with, or another --out."
        raise SettingsError(kind, "can go on only as it was begun", ", ".join(rows), remedy)


def claim_folder(out_dir: Path, kind: str, recipe: AslTrainingSettings) -> None:
    """Make the folder this sweep's, unless it is already.

    Raises:
        OutputError, SettingsError: as `refuse_another_sweep`.
    """
    refuse_another_sweep(out_dir, kind, recipe)
    if not (out_dir / RECORD).exists():
        write_whole(out_dir / RECORD, json.dumps(_record(kind, recipe), indent=1).encode() + b"\n")


def remove_scratch(folder: Path) -> None:
    """Remove what a sweep that is whole no longer needs."""
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)


def _record(kind: str, recipe: AslTrainingSettings) -> dict[str, object]:
    return {"kind": kind, "recipe": recipe.to_dict(), "recipe_sha256": recipe.sha256()}


def _kind(file: Path) -> str | None:
    """Of the sweep that wrote a record; None of anything else."""
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = fields.get("kind") if isinstance(fields, dict) else None
    return found if found in (BETA_SWEEP, LAMBDA_SWEEP) else None
