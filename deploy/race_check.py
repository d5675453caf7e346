"""`python -m deploy.race_check --pool POOL`: does the race find the member that full sweeps of all would choose?

Phantom slices of shifted scanners, the same in every run; every slice is raced with an audit, which sweeps all members
in full. Finished slices are kept in the output folder, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from pool.errors import PoolError
from pool.member import Pool
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices
from pool.preprocess import PreparedSlice, WayBack
from pool.progress import ProgressBar
from pool.race import SliceRace, run_race
from pool.race_settings import RaceSettings
from pool.sweep import SweepSettings

PRESETS = ("exD-1", "exD-2")
"""Scanners that a pool trained on `inD` never saw; slices alternate between them, three of a heart at a time."""
SEED = 2026
SLICES_PER_HEART = 3
SAME_ENOUGH = 0.02
"""A winner whose U_pp is at most this share above the best is as good."""

console = Console()


def main(
    pool: Annotated[Path, typer.Option(help="Pool folder.")],
    slices: Annotated[int, typer.Option(min=1, help="Shifted phantom slices.")] = 300,
    out: Annotated[Path, typer.Option(help="Folder that keeps finished slices.")] = Path("race-check"),
    threads: Annotated[int, typer.Option(min=1, help="Torch threads.")] = torch.get_num_threads(),
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
) -> None:
    """Race and audit every slice, then print how often both agree and what was saved."""
    torch.set_num_threads(threads)
    try:
        records = check(Pool.load(pool, device), slices, out)
    except PoolError as error:
        console.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    console.print(summary_table(records))
    for number, record in enumerate(records):
        audit = record["audit"]
        if not audit["same"]:
            console.print(f"slice {number}: best {audit['chosen']}, excess {_percent(audit['u_pp_excess'])}")


def check(
    pool: Pool, n_slices: int, out: Path, sweep: SweepSettings | None = None, settings: RaceSettings | None = None
) -> list[dict[str, Any]]:
    """The race's record of every slice, as in `result.json`.

    Args:
        pool: all members.
        n_slices: how many phantom slices.
        out: keeps a file a slice, by pool and settings.
        sweep: of a full sweep.
        settings: of the race; an audit is always made.
    """
    sweep, settings = sweep or SweepSettings(), settings or RaceSettings()
    settings = RaceSettings(settings.levels, audit=True)
    levels = "-".join(f"{level.n_patches}_{level.margin:g}_{level.share:g}" for level in settings.levels)
    folder = out / f"{pool.manifest.sha256()[:16]}-{levels}-{sweep.stride_px}"
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    with ProgressBar("slices raced and audited") as bar:
        for number in range(n_slices):
            path = folder / f"{number:05d}.json"
            if not path.is_file():
                record = race_with_audit(shifted_slice(number), pool, sweep, settings)
                partial = path.with_suffix(".partial")
                partial.write_text(json.dumps(record))
                partial.replace(path)
            records.append(json.loads(path.read_text()))
            bar(len(records), n_slices)
    return records


def shifted_slice(number: int) -> PreparedSlice:
    """The phantom slice of a number: always the same one."""
    heart, level = divmod(number, SLICES_PER_HEART)
    preset = get_preset(PRESETS[heart % len(PRESETS)])
    generator = torch.Generator().manual_seed(SEED + heart)
    frames = make_labelled_slices(preset, SLICES_PER_HEART, generator).frames[level].numpy()
    image_px = frames.shape[1]
    way_back = WayBack((image_px, image_px), image_px, (0.0, 0.0), (1.0, 1.0))
    middle = (image_px // 2, image_px // 2)
    return PreparedSlice(f"slice-{number}", frames, way_back, middle, (0, 1), (0, len(frames) - 1))


def race_with_audit(
    prepared: PreparedSlice, pool: Pool, sweep: SweepSettings, settings: RaceSettings
) -> dict[str, Any]:
    """The record of one slice's race."""
    race = SliceRace(prepared, pool.manifest, sweep, settings)
    run_race(race, prepared, pool, sweep)
    return race.record().to_dict()


def summary_table(records: Sequence[dict[str, Any]]) -> Table:
    """Agreement, excess of U_pp and patch passes over all slices."""
    audits = [record["audit"] for record in records]
    excess = np.array([audit["u_pp_excess"] if audit["u_pp_excess"] is not None else np.inf for audit in audits])
    saved = np.array([record["n_passes_exhaustive"] / max(record["n_passes"], 1) for record in records])
    n_passes, n_exhaustive = (sum(record[name] for record in records) for name in ("n_passes", "n_passes_exhaustive"))
    table = Table(title="race against full sweeps of all members")
    table.add_column("")
    table.add_column("", justify="right")
    for name, value in (
        ("slices", str(len(records))),
        ("same member", _percent(float(np.mean([audit["same"] for audit in audits])))),
        (f"same member, or U_pp within {_percent(SAME_ENOUGH)}", _percent(float(np.mean(excess <= SAME_ENOUGH)))),
        ("greatest excess of U_pp", _percent(float(excess.max()))),
        ("patch passes, all slices", f"{n_exhaustive / max(n_passes, 1):.1f} x fewer"),
        ("patch passes, least and most saved", f"{saved.min():.1f} x, {saved.max():.1f} x"),
    ):
        table.add_row(name, value)
    return table


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:.4g} %"


if __name__ == "__main__":
    typer.run(main)
