"""`python -m pool bench`: the speed of this machine, and whether a faster data type changes the selection."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from pool.bench.agreement import check_agreement
from pool.bench.contenders import untrained_network
from pool.bench.dtypes import compare_dtypes
from pool.bench.speed import measure_speed
from pool.bench.study import measure_study
from pool.engine import EngineSettings
from pool.engine.calibration import calibrate
from pool.engine.machine import Machine, device_named
from pool.engine.settings import DTYPES
from pool.engine.whole.sweep import WholeSettings
from pool.errors import SettingsError
from pool.member import PRETRAINED, Pool
from pool.networks import NetworkSpec
from pool.patches import PatchGrid
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices
from pool.progress import ProgressBar

NETWORKS = {"compact": NetworkSpec(), "paper": NetworkSpec(width=64, n_poolings=4)}
N_DISTINCT = 4
"""Untrained networks that the members of a study take turns with."""
N_CHECKED = 3
"""Networks of a pool that are compared with the plain sweep; of untrained ones, one on one slice."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `bench` to the command line of `pool`."""
    command = commands.add_parser("bench", help="measure the sweep on this machine, against other ways to do it")
    command.add_argument("--network", choices=list(NETWORKS), default="compact")
    command.add_argument("--rows", type=int, default=33, help="rows of 33 patches (default %(default)s, a whole slice)")
    command.add_argument("--rounds", type=int, default=5, help="runs of each contender (default %(default)s)")
    command.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads")
    command.add_argument("--batch-size", type=int, help="patches in one forward pass of the engine")
    command.add_argument(
        "--no-calibrate", dest="calibrate", action="store_false", help="no measurement of the engine's best batch size"
    )
    command.add_argument("--dtype", choices=list(DTYPES), default="float32", help="of the engine")
    command.add_argument("--bfloat16", action="store_true", help="measure the engine in bfloat16 too")
    command.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    command.add_argument("--out", type=Path, help="folder for a JSON file, such as benchmarks/")
    command.add_argument(
        "--dtype-check", type=int, metavar="N", help="instead: compare selections of a pool in float32 and bfloat16"
    )
    command.add_argument(
        "--study", action="store_true", help="instead: time whole studies, all members over all slices in one batch"
    )
    command.add_argument(
        "--check", action="store_true", help="instead: compare every way that --study may compute with the plain sweep"
    )
    command.add_argument("--members", type=int, default=50, help="with --study: members (default %(default)s)")
    command.add_argument("--slices", type=int, default=3, help="with --study, --check: slices (default %(default)s)")
    command.add_argument(
        "--pool", type=Path, help="with --dtype-check, --study, --check: folder with manifest.json and the weights"
    )
    command.add_argument("--stride", type=int, default=2, help="with --dtype-check: of the U-map (default %(default)s)")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write where asked.

    Raises:
        SettingsError: counts out of range, or a check of dtypes without a pool.
    """
    device = torch.device(device_named(options.device))
    for name, value, most in (("--threads", options.threads, 4096), ("--rounds", options.rounds, 10**6)):
        if not 1 <= value <= most:
            raise SettingsError("bench", f"{name} must be from 1 to {most}", str(value))
    torch.set_num_threads(options.threads)
    if options.dtype_check is not None:
        _check_dtypes(options, device)
        return
    if options.study or options.check:
        _study(options, device)
        return
    most_rows = PatchGrid().n_per_axis
    if not 1 <= options.rows <= most_rows:
        raise SettingsError("bench", f"--rows must be from 1 to {most_rows}", str(options.rows))
    spec, settings = NETWORKS[options.network], EngineSettings(options.dtype, options.batch_size)
    if options.batch_size is None and options.calibrate:
        settings = calibrate(untrained_network(spec, device), spec, settings).settings
    report = measure_speed(spec, settings, options.rows, options.rounds, device, options.bfloat16)
    sys.stdout.write(report.in_words() + "\n")
    _write(options, f"sweep-{options.network}-{device.type}.json", report.to_dict())


def _study(options: argparse.Namespace, device: torch.device) -> None:
    for name, value, most in (("--members", options.members, 1000), ("--slices", options.slices, 100)):
        if not 1 <= value <= most:
            raise SettingsError("bench", f"{name} must be from 1 to {most}", str(value))
    generator = torch.Generator().manual_seed(0)
    frames = make_labelled_slices(get_preset("exD-1"), options.slices, generator).frames.numpy()
    slices = list(frames)
    spec = NETWORKS[options.network]
    if options.check:
        if options.pool or options.network == "compact":
            pool = Pool.load(options.pool or PRETRAINED, options.device)
            networks = [member.network for member in pool.members[:N_CHECKED]]
        else:
            networks, slices = [untrained_network(spec, device)], slices[:1]
        _say("against the plain sweep in float32:")
        for agreement in check_agreement(networks, slices):
            _say(agreement if isinstance(agreement, str) else agreement.in_words())
        if not options.study:
            return
    if options.pool:
        pool = Pool.load(options.pool, options.device)
        spec, networks = pool.members[0].entry.network, [member.network for member in pool.members]
    else:
        networks = [untrained_network(spec, device, seed) for seed in range(min(N_DISTINCT, options.members))]
    settings = WholeSettings(options.dtype, options.batch_size)
    way = _say if options.calibrate else None
    report = measure_study(networks, spec, list(frames), settings, options.members, options.rounds, way)
    sys.stdout.write(report.in_words() + "\n")
    _write(options, f"study-{options.network}-{options.dtype}-{device.type}.json", report.to_dict())


def _say(line: str) -> None:
    """Shown at once: a run on a borrowed machine may be cut off."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _check_dtypes(options: argparse.Namespace, device: torch.device) -> None:
    if options.pool is None:
        raise SettingsError("bench", "--dtype-check needs --pool", remedy="Untrained networks choose nobody.")
    if options.dtype_check < 1:
        raise SettingsError("bench", "--dtype-check must be at least 1", str(options.dtype_check))
    dtype = "bfloat16" if options.dtype == "float32" else options.dtype
    pool = Pool.load(options.pool, options.device)
    with ProgressBar("slices, both ways") as bar:
        report = compare_dtypes(pool, dtype, options.dtype_check, options.stride, bar)
    sys.stdout.write(report.in_words() + "\n")
    _write(
        options,
        f"selection-{dtype}-{device.type}.json",
        {"machine": Machine.here(device).to_dict(), "pool": pool.manifest.name, **report.to_dict()},
    )


def _write(options: argparse.Namespace, name: str, fields: dict[str, Any]) -> None:
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / name
        path.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
