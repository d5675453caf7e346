"""`python -m pool race-check`: does the race find the member that full sweeps of all would choose, and does a faster
data type choose the same? Everything is measured once and kept, so that levels can be tried without sweeping again; a
run that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pool.bench.race_against_wide import WIDE, as_trial, key_of, race_against_wide
from pool.bench.race_measuring import measure_races, shifted_slices
from pool.engine.machine import Machine, device_named
from pool.engine.settings import DTYPES
from pool.errors import SettingsError
from pool.inputs import open_study
from pool.manifest import PoolManifest
from pool.member import PRETRAINED, Pool
from pool.preprocess import prepare
from pool.progress import ProgressBar
from pool.race_measures import RaceMeasures
from pool.race_settings import RaceSettings
from pool.race_trial import try_races
from pool.shapes import SliceFrames
from pool.sweep import SweepSettings


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `race-check` to the command line of `pool`."""
    command = commands.add_parser("race-check", help="what a race and a faster data type change, over phantom slices")
    command.add_argument("--pool", type=Path, default=PRETRAINED, help="pool folder (default: the pool that ships)")
    command.add_argument("--slices", type=int, default=300, help="shifted phantom slices (default %(default)s)")
    command.add_argument("--real", type=Path, help="folder of real slices, *.mat, measured too")
    command.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    command.add_argument(
        "--dtypes",
        default="float32",
        help="separated by commas, the first is the reference (default %(default)s); each takes a whole run",
    )
    command.add_argument("--out", type=Path, required=True, help="folder for the measures and the report")
    command.add_argument(
        "--wide",
        action="store_true",
        help="instead of full sweeps of all members: against a far wider race, in one data type",
    )
    command.add_argument(
        "--from", dest="measured", type=Path, help="instead of measuring: the race-measures.npz of an earlier run"
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, or read what was measured, and report.

    Raises:
        SettingsError: unknown data types, no slices, measures of another pool, or options that exclude each other.
    """
    dtypes = options.dtypes.split(",")
    if unknown := [dtype for dtype in dtypes if dtype not in DTYPES]:
        raise SettingsError("race check", f"--dtypes must be of {', '.join(DTYPES)}", ", ".join(unknown))
    if options.slices < 1:
        raise SettingsError("race check", "--slices must be at least 1", str(options.slices))
    options.out.mkdir(parents=True, exist_ok=True)
    manifest = PoolManifest.load(options.pool)
    manifest.require_patches()
    if options.wide:
        if options.measured is not None or len(dtypes) > 1:
            found = "--from" if options.measured is not None else ", ".join(dtypes)
            raise SettingsError("race check", "--wide measures anew, in one data type", found)
        _run_against_wide(options, dtypes[0])
        return
    if options.measured is None:
        pool = Pool.load(options.pool, device_named(options.device))
        slices = shifted_slices(options.slices)
        if options.real is not None:
            slices += real_slices(options.real)
        with ProgressBar("slices") as bar:
            measures = measure_races(pool, slices, dtypes, keep=options.out, on_progress=bar)
        measures.save(options.out / "race-measures.npz")
    else:
        measures = RaceMeasures.load(options.measured)
        if measures.pool_sha256 != manifest.sha256():
            rule = "--from must be measures of the pool"
            raise SettingsError("race check", rule, f"those of {measures.pool_sha256[:12]}", "Give it with --pool.")
    machine = None if options.measured else Machine.here(torch.device(options.device)).to_dict()
    report = {"machine": machine, **report_of(measures, manifest)}
    (options.out / "race-check.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(report["in_words"]) + f"\nwrote {options.out}\n")


def _run_against_wide(options: argparse.Namespace, dtype: str) -> None:
    pool = Pool.load(options.pool, device_named(options.device))
    slices = shifted_slices(options.slices) + (real_slices(options.real) if options.real is not None else [])
    sweep = SweepSettings(dtype=dtype)
    keep = options.out / f"against-wide-{key_of(pool.manifest, sweep)}.jsonl"
    with ProgressBar("slices") as bar:
        found = race_against_wide(pool, slices, sweep, keep, on_progress=bar)
    n_full, n_members = sweep.grid().n_patches, len(pool.of_patches)
    races = {}
    for name, among in kinds_of_slices([item.slice_name for item in found]).items():
        if some := [item for item, wanted in zip(found, among) if wanted and item.expected]:
            races[name] = as_trial(some, n_members, n_full)
            sys.stdout.write(f"race, {name}: {races[name].in_words()}\n")
    times_fewer = n_members * n_full * len(found) / sum(item.n_passes_wide for item in found)
    sys.stdout.write(f"the wide race took {times_fewer:.1f} times fewer than full sweeps\nwrote {options.out}\n")
    report = {
        "machine": Machine.here(torch.device(options.device)).to_dict(),
        "pool_sha256": pool.manifest.sha256(),
        "dtype": dtype,
        "wide_levels": [vars(level) for level in WIDE.levels],
        "wide_times_fewer": times_fewer,
        "races": {name: trial.to_dict() for name, trial in races.items()},
    }
    path = options.out / "race-check-wide.json"
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def real_slices(folder: Path) -> list[tuple[str, SliceFrames]]:
    """Slices of all `.mat` files of a folder, by name."""
    return [
        (f"real-{path.stem}", item.frames)
        for path in sorted(folder.glob("*.mat"))
        for item in prepare(open_study(path).series)
    ]


def report_of(measures: RaceMeasures, manifest: PoolManifest) -> dict[str, Any]:
    """What a race by `RaceSettings`, and every other data type than the first, change."""
    by_id = {entry.id: entry for entry in manifest.members}
    members = [by_id[member_id] for member_id in measures.member_ids]
    reference = measures.u_pp[0]
    levels = RaceSettings().levels
    lines, races, dtypes = [], {}, {}
    for name, among in kinds_of_slices(measures.slice_names).items():
        if not among.any():
            continue
        trial = try_races(reference[among], measures.prefixes, members, levels)
        races[name] = trial.to_dict()
        lines.append(f"race, {name}: {trial.in_words()}")
        for i, dtype in enumerate(measures.dtypes[1:] if "hearts" not in name else (), start=1):
            changed = dtype_change(measures, i, among)
            dtypes[f"{dtype}, {name}"] = changed
            lines.append(
                f"{dtype}, {name}: largest change of U_pp {changed['largest_u_pp_change']:.2%}, median "
                f"{changed['median_u_pp_change']:.3%}; another member on {len(changed['other_choices'])} of "
                f"{int(among.sum())} slices; masks emptied or filled {changed['n_masks_emptied_or_filled']}"
            )
            lines += [
                f"  {case['slice']}: {case['chosen']} instead of {case['reference']}, "
                f"U_pp {case['u_pp_excess']:.3%} greater"
                for case in changed["other_choices"]
            ]
    return {
        "pool_sha256": measures.pool_sha256,
        "n_members": len(measures.member_ids),
        "n_slices": len(measures.slice_names),
        "levels": [vars(level) for level in levels],
        "races": races,
        "dtypes": dtypes,
        "in_words": lines,
    }


def kinds_of_slices(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Which slices are of the hearts that `RaceSettings` was chosen by (even numbers), of others, and real: by kind."""
    hearts = [None if name.startswith("real-") else int(name.split("-")[-2]) for name in names]
    return {
        "phantom": np.array([heart is not None for heart in hearts]),
        "phantom, hearts to choose by": np.array([heart is not None and heart % 2 == 0 for heart in hearts]),
        "phantom, hearts to test by": np.array([heart is not None and heart % 2 == 1 for heart in hearts]),
        "real": np.array([heart is None for heart in hearts]),
    }


def dtype_change(measures: RaceMeasures, dtype: int, among: np.ndarray) -> dict[str, Any]:
    """Full sweeps in another data type against the reference, on some slices."""
    reference, other = measures.u_pp[0, among, :, -1], measures.u_pp[dtype, among, :, -1]
    names = [name for name, wanted in zip(measures.slice_names, among) if wanted]
    both = np.isfinite(reference) & np.isfinite(other)
    change = np.abs(other[both] / np.maximum(reference[both], 1e-300) - 1)
    expected, chosen = reference.argmin(1), other.argmin(1)
    cases = [
        {
            "slice": names[i],
            "reference": measures.member_ids[expected[i]],
            "chosen": measures.member_ids[chosen[i]],
            "u_pp_excess": float(reference[i, chosen[i]] / reference[i, expected[i]] - 1),
        }
        for i in np.flatnonzero(expected != chosen)
    ]
    return {
        "largest_u_pp_change": float(change.max(initial=0.0)),
        "median_u_pp_change": float(np.median(change)) if change.size else 0.0,
        "n_masks_emptied_or_filled": int((np.isfinite(reference) != np.isfinite(other)).sum()),
        "other_choices": cases,
    }
