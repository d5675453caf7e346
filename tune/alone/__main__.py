"""`python -m tune.alone`: a pool from a labelled set or a phantom preset, where only torch and numpy are installed."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import torch

from pool.engine.machine import device_named
from pool.errors import PoolError, SettingsError
from pool.phantom.presets import PRESETS, get_preset
from tune.alone.phantom_samples import SHARD_SLICES, simulate_samples
from tune.alone.seeds import train_seeds
from tune.assemble import choose_members, refuse_used_folder, write_pool
from tune.cli.options import chosen_settings
from tune.reports import EpochReport
from tune.samples import Samples
from tune.settings import PRESETS as RECIPES


def main() -> int:
    """Train, choose, write; exit code 2 with a sentence where that is not possible."""
    options = _parser().parse_args()
    try:
        run(options)
    except PoolError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Train every seed in a process of its own and write the pool.

    Raises:
        PoolError: options, data or outcome that give no pool.
    """
    started_s = time.monotonic()
    if (options.data is None) == (options.phantom is None):
        raise SettingsError("training", "needs either --data or --phantom", "both" if options.data else "neither")
    if options.at_once is not None and options.at_once < 1:
        raise SettingsError("training", "--at-once must be at least 1", str(options.at_once))
    device = device_named(options.device)
    changes = {
        "n_epochs": options.epochs,
        "n_patches_per_slice": options.patches_per_slice,
        "n_checkpoints": options.checkpoints,
        "least_validation_dice": options.floor,
    }
    settings = chosen_settings(options.preset, options.settings, changes, {})
    refuse_used_folder(options.out, may_be_cut_short=False)
    if options.data is not None:
        samples = Samples.open(options.data, verify=True).to(device)
    else:
        preset = get_preset(options.phantom)
        samples = simulate_samples(preset, options.n_slices, options.phantom_seed, device, _say_simulated)
    _say(f"{len(samples)} slices of {samples.n_subjects} subjects after {time.monotonic() - started_s:.0f} s")
    settings = samples.settings_for_classes(settings)
    n_at_once = min(options.at_once or (len(settings.seeds) if device != "cpu" else 1), len(settings.seeds))
    with ExitStack() as stack:
        kept = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pool-checkpoints-")))
        refuse_used_folder(kept, may_be_cut_short=False)
        kept.mkdir(parents=True, exist_ok=True)
        source = options.data if options.data is not None and device == "cpu" else samples
        candidates = train_seeds(settings, source, kept, device, n_at_once, _say_epoch)
        chosen = choose_members(candidates, settings)
        manifest = write_pool(options.out, options.name, chosen, settings, samples.data_sha256, options.half_weights)
    _say(f"{manifest.n_members} members in {options.out} after {time.monotonic() - started_s:.0f} s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tune.alone", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="pool folder to write; new or empty")
    parser.add_argument("--data", type=Path, help="folder of a labelled set")
    parser.add_argument("--phantom", choices=list(PRESETS), help="simulate the slices from this preset instead")
    parser.add_argument("--n-slices", type=int, default=600, help="to simulate, a multiple of 3 (default %(default)s)")
    parser.add_argument("--phantom-seed", type=int, default=1, help="of the simulation (default %(default)s)")
    parser.add_argument("--preset", choices=list(RECIPES), help="recipe; the paper's if none is given")
    parser.add_argument("--settings", type=Path, help="a whole recipe as JSON")
    parser.add_argument("--epochs", type=int, help="most epochs")
    parser.add_argument("--patches-per-slice", type=int, help="patches drawn from each slice in an epoch")
    parser.add_argument("--checkpoints", type=int, help="members from each seed")
    parser.add_argument("--floor", type=float, help="validation Dice that a member needs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of the training")
    parser.add_argument("--at-once", type=int, help="seeds trained at the same time (a GPU: all, processors: one)")
    parser.add_argument("--keep", type=Path, help="folder for all checkpoints, also where too few are good enough")
    parser.add_argument("--half-weights", action="store_true", help="store filters in 16 bits")
    parser.add_argument("--name", default="pool", help="of the pool (default %(default)s)")
    return parser


def _say_simulated(n_done: int, n_total: int) -> None:
    if n_done == n_total or n_done % (10 * SHARD_SLICES) == 0:
        _say(f"simulated {n_done} of {n_total} slices")


def _say_epoch(report: EpochReport) -> None:
    _say(
        f"seed {report.seed} epoch {report.epoch}: validation Dice {report.validation_dice:.3f}, loss "
        f"{report.train_loss:.4f}, {report.n_patches_per_s:.0f} patches/s, validation {report.validation_s:.1f} s"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
