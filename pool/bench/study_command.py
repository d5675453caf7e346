"""`python -m pool bench --study` and `--check`: whole studies, and whether all ways to sweep on a device agree."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from pool.bench.agreement import check_agreement
from pool.bench.analysed_study import measure_analysed_study
from pool.bench.contenders import untrained_network
from pool.bench.study import measure_study
from pool.engine.machine import Machine
from pool.engine.whole.sweep import WholeSettings
from pool.errors import SettingsError
from pool.member import PRETRAINED, Pool
from pool.networks import NetworkSpec
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices
from pool.selection import SELECTION_RULES
from pool.shapes import SliceFrames
from pool.sweep import SweepSettings

NETWORKS = {"compact": NetworkSpec(), "paper": NetworkSpec(width=64, n_poolings=4)}
N_DISTINCT = 4
"""Untrained networks that the members of a study take turns with."""
N_CHECKED = 3
"""Networks of a pool that are compared with the plain sweep; of untrained ones, one on one slice."""


def add_study_options(command: argparse.ArgumentParser) -> None:
    """Add what `run_study` reads to the options of `bench`."""
    command.add_argument(
        "--study", action="store_true", help="instead: time whole studies, all members over all slices in one batch"
    )
    command.add_argument(
        "--rule",
        choices=list(SELECTION_RULES),
        help="with --study: as `analyse` does it, member by member, by this rule and with a trained pool",
    )
    command.add_argument(
        "--check", action="store_true", help="instead: compare every way that --study may compute with the plain sweep"
    )
    command.add_argument("--members", type=int, default=50, help="with --study: members (default %(default)s)")
    command.add_argument("--slices", type=int, default=3, help="with --study, --check: slices (default %(default)s)")
    command.add_argument("--pool", type=Path, help="with --study, --check: folder with manifest.json and the weights")


def run_study(options: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measure and print; gives file names and JSON-ready reports.

    Raises:
        SettingsError: counts out of range.
    """
    for name, value, most in (("--members", options.members, 1000), ("--slices", options.slices, 100)):
        if not 1 <= value <= most:
            raise SettingsError("bench", f"{name} must be from 1 to {most}", str(value))
    generator = torch.Generator().manual_seed(0)
    slices = list(make_labelled_slices(get_preset("exD-1"), options.slices, generator).frames.numpy())
    if options.check:
        _check(options, device, slices)
    if not options.study:
        return
    if options.rule is not None:
        pool, sweep = Pool.load(options.pool or PRETRAINED, options.device), SweepSettings(dtype=options.dtype)
        if options.batch_size is not None:
            sweep = SweepSettings(dtype=options.dtype, batch_size=options.batch_size)
        analysed = measure_analysed_study(pool, slices, sweep, options.rule, options.rounds, Machine.here(device))
        _say(analysed.in_words())
        yield f"analysed-{options.rule}-{options.dtype}-{device.type}.json", analysed.to_dict()
        return
    spec = NETWORKS[options.network]
    if options.pool:
        pool = Pool.load(options.pool, options.device)
        pool.manifest.require_patches()
        spec, networks = pool.of_patches[0].entry.network, [member.network for member in pool.of_patches]
    else:
        networks = [untrained_network(spec, device, seed) for seed in range(min(N_DISTINCT, options.members))]
    settings, way = WholeSettings(options.dtype, options.batch_size), _say if options.calibrate else None
    report = measure_study(networks, spec, slices, settings, options.members, options.rounds, way)
    _say(report.in_words())
    yield f"study-{options.network}-{options.dtype}-{device.type}.json", report.to_dict()


def _check(options: argparse.Namespace, device: torch.device, slices: list[SliceFrames]) -> None:
    if options.pool or options.network == "compact":
        pool = Pool.load(options.pool or PRETRAINED, options.device)
        pool.manifest.require_patches()
        networks = [member.network for member in pool.of_patches[:N_CHECKED]]
    else:
        networks, slices = [untrained_network(NETWORKS[options.network], device)], slices[:1]
    _say("against the plain sweep in float32:")
    for agreement in check_agreement(networks, slices):
        _say(agreement if isinstance(agreement, str) else agreement.in_words())


def _say(line: str) -> None:
    """Shown at once: a run on a borrowed machine may be cut off."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
