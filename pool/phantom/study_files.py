"""Many studies to a folder: arrays or DICOM, truth beside them; and the command that does it."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pool.errors import OutputError, SettingsError
from pool.phantom.dicom_files import DIALECTS, write_dicom_study, write_truth
from pool.phantom.presets import PRESETS, Preset, get_preset
from pool.phantom.study import make_study
from pool.phantom.study_types import PhantomStudy

DEFAULT_FRAMES = 60
"""Frames a slice unless asked for otherwise."""


def study_seed(seed: int, number: int) -> int:
    """Seed of one study of a batch."""
    return int.from_bytes(hashlib.sha256(f"study {seed}:{number}".encode()).digest()[:6], "little")


def write_npz(study: PhantomStudy, path: str | Path) -> Path:
    """Write a study's pixels, times and spacing as `.npz`, as `pool.inputs` reads it."""
    path = Path(path)
    np.savez_compressed(
        path,
        frames=study.series.frames,
        times_s=study.series.times_s,
        pixel_spacing_mm=np.array(study.series.pixel_spacing_mm),
    )
    return path


def write_studies(
    out_dir: str | Path,
    preset: Preset,
    n_studies: int,
    seed: int,
    n_frames: int = DEFAULT_FRAMES,
    dialect: str | None = None,
    dual_bolus: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write studies as `study-0001/series.npz` or, with a dialect, as `study-0001/dicom/`; each with `truth.npz`.

    Memory stays that of one study.

    Args:
        out_dir: a folder that is new or empty.
        preset: population and scanner.
        n_studies: how many, at least one.
        seed: at least 0; the same seed gives the same bytes on one machine.
        n_frames: frames a slice.
        dialect: DICOM dialect, or None for arrays.
        dual_bolus: also write a prebolus of a tenth of the dose, as `prebolus.npz` or `prebolus/`.
        on_progress: called with studies written so far and in all.

    Returns:
        The studies' folders.

    Raises:
        SettingsError: no studies, a negative seed, an unknown dialect.
        OutputError: the folder holds something already.
    """
    if n_studies < 1:
        raise SettingsError("number of studies", "must be at least 1", str(n_studies))
    if seed < 0:
        raise SettingsError("seed", "must not be negative", str(seed))
    if dialect is not None and dialect not in DIALECTS:
        raise SettingsError("DICOM dialect", f"must be one of {', '.join(DIALECTS)}", repr(dialect))
    root = Path(out_dir)
    if root.exists() and any(root.iterdir()):
        raise OutputError(f"folder {root.name}", "must be new or empty", remedy="Choose another folder.")
    folders = []
    for number in range(1, n_studies + 1):
        study = make_study(preset, study_seed(seed, number), n_frames, dual_bolus)
        folder = root / f"study-{number:04d}"
        folder.mkdir(parents=True)
        for part, npz, dicom in ((study, "series.npz", "dicom"), (study.prebolus, "prebolus.npz", "prebolus")):
            if part is None:
                continue
            if dialect is None:
                write_npz(part, folder / npz)
            else:
                write_dicom_study(part, folder / dicom, dialect)
        write_truth(study, folder)
        folders.append(folder)
        if on_progress is not None:
            on_progress(number, n_studies)
    record = {"preset": preset.name, "preset_sha256": preset.content_sha256(), "seed": seed, "n_studies": n_studies}
    (root / "manifest.json").write_text(
        json.dumps(record | {"n_frames": n_frames, "dialect": dialect, "dual_bolus": dual_bolus}, indent=1) + "\n"
    )
    return folders


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `phantom` to a command line's subcommands: `phantom --preset exD-1 --studies 20 --seed 7 --out DIR`."""
    command = commands.add_parser("phantom", help="simulate perfusion studies with known truth")
    command.add_argument("--preset", choices=list(PRESETS), default="exD-1", help="scanner and patients")
    command.add_argument("--studies", type=int, default=1, help="number of studies (default %(default)s)")
    command.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default %(default)s)")
    command.add_argument("--frames", type=int, default=DEFAULT_FRAMES, help="frames a slice (default %(default)s)")
    command.add_argument("--out", type=Path, required=True, help="folder for the studies: new or empty")
    command.add_argument(
        "--dicom",
        nargs="?",
        const="",
        metavar="DIALECT",
        help=f"write DICOM files instead of .npz: {', '.join(DIALECTS)} (default siemens); with "
        "--asl: classic (the default) or enhanced",
    )
    command.add_argument("--dual-bolus", action="store_true", help="also write a prebolus of a tenth of the dose")
    command.add_argument(
        "--asl",
        action="store_true",
        help="instead: arterial spin labelling studies, for `python -m pool asl`",
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    def show(n_done: int, n_total: int) -> None:
        print(f"wrote study {n_done} of {n_total}", file=sys.stderr, flush=True)

    preset = get_preset(options.preset)
    if options.asl:
        if options.dual_bolus or options.frames != DEFAULT_FRAMES:
            rule = "goes without --dual-bolus and --frames: it has pairs of images"
            raise SettingsError("--asl", rule, "one of them")
        from pool.phantom.asl_files import write_asl_studies  # it needs this module

        dialect = "classic" if options.dicom == "" else options.dicom
        write_asl_studies(options.out, preset, options.studies, options.seed, show, dialect)
        return
    dialect = "siemens" if options.dicom == "" else options.dicom
    write_studies(options.out, preset, options.studies, options.seed, options.frames, dialect, options.dual_bolus, show)
