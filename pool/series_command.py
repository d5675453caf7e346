"""`python -m pool series STUDY` says what every series of a study was taken for; the options that say otherwise."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from pool.run_choice import MOST_PROTON_DENSITY, Role, RunChoice


def add_run_options(command: argparse.ArgumentParser) -> None:
    """Options that choose a run of a DICOM study, first pass or ASL."""
    command.add_argument("--run", dest="which_run", choices=[Role.STRESS, Role.REST], help="of a study that holds both")
    command.add_argument(
        "--series", default="", metavar="N=ROLE,...", help=f"what a series is, by its number: {', '.join(Role)}"
    )
    command.add_argument("--original", action="store_true", help="the original images, not their motion-corrected twin")


def add_choice_options(command: argparse.ArgumentParser) -> None:
    """Options that choose a first-pass run of a DICOM study."""
    add_run_options(command)
    command.add_argument(
        "--proton-density",
        type=int,
        metavar="N",
        help=f"how many proton-density frames lead every slice, 0 to {MOST_PROTON_DENSITY} (default: find out)",
    )


def run_of(options: argparse.Namespace) -> RunChoice:
    """The choice that `add_run_options` makes.

    Raises:
        SettingsError: one that makes no sense.
    """
    return RunChoice(options.which_run or "", RunChoice.parse_roles(options.series), options.original)


def choice_of(options: argparse.Namespace) -> RunChoice:
    """The choice that `add_choice_options` makes.

    Raises:
        SettingsError: one that makes no sense.
    """
    return replace(run_of(options), n_proton_density=options.proton_density)


def add_series_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `series` to the commands."""
    command = commands.add_parser("series", help="what every series of a DICOM study is taken for, and why")
    command.add_argument("study", type=Path, help="DICOM folder, zip or DICOMDIR")
    add_choice_options(command)
    command.set_defaults(run=_series)


def _series(options: argparse.Namespace) -> None:
    from pool.dicom.archive import dicom_files
    from pool.dicom.read import read_study_content

    with dicom_files(options.study) as files:
        content = read_study_content(files, choice_of(options))
    for item in sorted(content.series, key=lambda item: (item.number.zfill(12), item.uid)):
        moco = ", motion-corrected" if item.motion_corrected else ""
        shape = f"{item.n_slices} x {item.n_frames}"
        print(f"series {item.number:>5s}  {shape:>9s}  {item.role}{moco}: {item.reason}")
    for i, run in enumerate(content.runs, start=1):
        numbers = {item.uid: item.number for item in content.series}
        print(f"run {i}: series {', '.join(sorted({numbers[uid] for uid in run.series_uids}))}")
