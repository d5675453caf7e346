"""`python -m pool asl STUDY --pool DIR --out DIR`: one ASL study on one machine."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from pool.asl.analysis import AslAnalysisSettings, analyse_asl, calibrated_trials
from pool.asl.inputs import open_asl_study
from pool.asl.result import in_words, write_asl_result
from pool.asl.series import ARRAYS
from pool.engine.machine import device_named
from pool.member import Pool
from pool.output import check_writable
from pool.perfusion.asl import AslValues
from pool.progress import ProgressBar
from pool.run_choice import Role
from pool.series_command import add_run_options, run_of
from pool.trials.settings import TrialSettings


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `asl` to the command line of `pool`."""
    command = commands.add_parser("asl", help="outline an arterial spin labelling study and measure its flow")
    command.add_argument("study", type=Path, help=f"DICOM folder or zip, or .npz with {', '.join(ARRAYS)}")
    command.add_argument("--pool", type=Path, required=True, help="folder that `python -m tune asl mix` wrote")
    command.add_argument("--out", type=Path, required=True, help="folder for the results: new, empty or an earlier one")
    command.add_argument("--trials", type=int, help="of every member (default: as many as it was calibrated with)")
    command.add_argument("--seed", type=int, default=0, help="of the trials (default %(default)s)")
    command.add_argument("--field", type=float, help="field strength [T] (default: as the study says, else 3)")
    command.add_argument("--threads", type=int, default=1, help="torch threads (default %(default)s)")
    command.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    add_run_options(command)
    command.add_argument(
        "--pair-starts-with",
        choices=[Role.CONTROL, Role.LABELLED],
        default="",
        help="which image leads every pair, where nothing in a DICOM study tells them apart",
    )
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    device = device_named(options.device)
    check_writable(options.out)
    pool = Pool.load(options.pool, device)
    study = open_asl_study(options.study, replace(run_of(options), pair_starts_with=options.pair_starts_with))
    series = study.series
    if study.dicom is not None:
        from pool.dicom.asl.objects import check_asl_objects  # needs highdicom; the rest does not

        check_asl_objects(study.dicom)
    n_trials = calibrated_trials(pool.manifest) if options.trials is None else options.trials
    trials = TrialSettings(n_trials, options.seed)
    settings = AslAnalysisSettings(trials, AslValues(), options.threads, device, options.field)
    with ProgressBar("members") as bar:
        analysis = analyse_asl(series, pool, settings, bar)
    files = write_asl_result(analysis, options.out, study.dicom)
    print(in_words(analysis))
    print(f"wrote {', '.join(path.name for path in files)} to {options.out}")
