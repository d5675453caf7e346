"""`python -m pool bench`: the speed of this machine."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from pool.bench.contenders import untrained_network
from pool.bench.speed import measure_speed
from pool.bench.study_command import NETWORKS, add_study_options, run_study
from pool.bench.trials import add_trials_options, batch_sizes_of, measure_trials, trials_figure
from pool.engine import EngineSettings
from pool.engine.calibration import calibrate
from pool.engine.machine import device_named
from pool.engine.settings import DTYPES
from pool.errors import SettingsError
from pool.patches import PatchGrid


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
    add_study_options(command)
    add_trials_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write where asked.

    Raises:
        SettingsError: counts out of range.
    """
    device = torch.device(device_named(options.device))
    for name, value, most in (("--threads", options.threads, 4096), ("--rounds", options.rounds, 10**6)):
        if not 1 <= value <= most:
            raise SettingsError("bench", f"{name} must be from 1 to {most}", str(value))
    torch.set_num_threads(options.threads)
    if options.trials is not None:
        sizes = batch_sizes_of(options.batch_sizes)
        trials = measure_trials(options.network, options.trials, sizes, options.rounds, device)
        sys.stdout.write(trials.in_words() + "\n")
        name = f"trials-{options.network}-{device.type}"
        _write(options, f"{name}.json", trials.to_dict())
        if options.out is not None:
            (options.out / f"{name}.png").write_bytes(trials_figure(trials))
            sys.stdout.write(f"wrote {options.out / name}.png\n")
        return
    if options.study or options.check:
        for name, fields in run_study(options, device):
            _write(options, name, fields)
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


def _write(options: argparse.Namespace, name: str, fields: dict[str, Any]) -> None:
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / name
        path.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
        sys.stdout.write(f"wrote {path}\n")
