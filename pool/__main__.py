"""One machine: `python -m pool analyse STUDY --pool DIR --out DIR`, `python -m pool phantom --out DIR`, `... bench`.

argparse and the standard error stream instead of typer and rich, because this module must import where only torch,
numpy, scipy and safetensors are installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from pool import __version__
from pool.analysis import AnalysisSettings, StudyAnalysis, analyse
from pool.asl.command import add_command as add_asl_command
from pool.bench.command import add_command as add_bench_command
from pool.bench.race_check import add_command as add_race_check_command
from pool.engine.calibration import calibrate
from pool.engine.machine import device_named
from pool.engine.settings import DTYPES, EngineSettings
from pool.errors import PoolError
from pool.figures.overlay import shape_in_words
from pool.flow_check import add_command as add_flow_check_command
from pool.flow_options import add_flow_options, flow_in_words, flow_inputs, flow_settings
from pool.inputs import open_study
from pool.member import PRETRAINED, Pool
from pool.output import check_writable
from pool.phantom.study_files import add_command as add_phantom_command
from pool.progress import ProgressBar
from pool.race_settings import RaceSettings
from pool.reserve_command import add_command as add_reserve_command
from pool.results import NOT_FOR_DIAGNOSIS, check_study_output, write_results
from pool.selection import RACE_RULE, SELECTION_RULES
from pool.series_command import add_choice_options, add_series_command, choice_of
from pool.sweep import SweepSettings
from pool.together import is_on_gpu

EXIT_BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 2 refused with one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except PoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except OSError as error:  # a path of the user's that no check foresaw: too long, on a dead disk, without permission
        print(f"error: {Path(error.filename or '').name}: cannot be used; {error.strerror}.", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pool", description=f"Perfusion pool {__version__}. {NOT_FOR_DIAGNOSIS}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("analyse", help="outline the myocardium of one study with every member of a pool")
    command.add_argument("study", type=Path, help="DICOM folder or zip, .mat (final_img), .npz or NIfTI")
    command.add_argument(
        "--pool",
        type=Path,
        default=PRETRAINED,
        help="folder with manifest.json and weights (default: the pool that ships)",
    )
    command.add_argument(
        "--out", type=Path, required=True, help="folder for the results: new, empty or an earlier result"
    )
    command.add_argument(
        "--rule", choices=list(SELECTION_RULES), default="min-u_pp", help="selection rule (default %(default)s)"
    )
    command.add_argument(
        "--audit", action="store_true", help=f"with {RACE_RULE}: sweep all members in full too, and say what it changes"
    )
    command.add_argument(
        "--threads", type=int, default=1, help="torch threads (default %(default)s, as a shard of the service)"
    )
    command.add_argument(
        "--batch-size", type=int, default=SweepSettings().batch_size, help="patches in one forward pass"
    )
    command.add_argument(
        "--calibrate", action="store_true", help="the batch size that is fastest here, measured once and remembered"
    )
    command.add_argument(
        "--dtype", choices=list(DTYPES), default="float32", help="of the convolutions; others may choose other members"
    )
    command.add_argument(
        "--labelmap", action="store_true", help="segmentation.dcm as a label map, which older servers refuse"
    )
    command.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    add_choice_options(command)
    add_flow_options(command)
    command.set_defaults(run=_analyse)
    add_series_command(commands)
    add_phantom_command(commands)
    add_bench_command(commands)
    add_race_check_command(commands)
    add_reserve_command(commands)
    add_flow_check_command(commands)
    add_asl_command(commands)
    return parser


def _analyse(options: argparse.Namespace) -> None:
    settings = AnalysisSettings(
        sweep=SweepSettings(batch_size=options.batch_size, dtype=options.dtype),
        rule=options.rule,
        race=RaceSettings(audit=True) if options.audit else None,
        flow=flow_settings(options),
        n_threads=options.threads,
        device=device_named(options.device),
    )
    check_writable(options.out)
    pool = Pool.load(options.pool, settings.device)
    if options.calibrate:
        settings = replace(settings, sweep=calibrated(pool, settings))
    study = open_study(options.study, choice_of(options))
    check_study_output(study.dicom)
    series, inputs = flow_inputs(options, study.series)
    with ProgressBar("member sweeps" if settings.race is None else "patch passes") as bar:
        analysis = analyse(series, pool, settings, bar, inputs)
    files = write_results(analysis, options.out, study.dicom, labelmap=options.labelmap)
    print(summary(analysis))
    print(f"wrote {', '.join(path.name for path in files)} to {options.out}")


def calibrated(pool: Pool, settings: AnalysisSettings) -> SweepSettings:
    """The sweep with the batch size that is fastest here; on a GPU as it is, where free memory decides."""
    if not pool.of_patches or is_on_gpu(pool.of_patches[0].network):
        return settings.sweep
    member = pool.of_patches[0]
    torch.set_num_threads(settings.n_threads)
    how = EngineSettings(settings.sweep.dtype, settings.sweep.batch_size)
    found = calibrate(member.network, member.entry.network, how, layouts=(True,)).settings
    return replace(settings.sweep, batch_size=found.batch_size or settings.sweep.batch_size)


def summary(analysis: StudyAnalysis) -> str:
    """A line a slice: who was chosen, with which uncertainty, and the shape of the outline; then what a race did."""
    lines = []
    for item in analysis.slices:
        if item.selection.chosen is None:
            lines.append(f"{item.name:10s} no outline: {item.selection.reason}")
            continue
        score = item.selection.score_of(item.selection.chosen)
        shape = shape_in_words(item)
        lines.append(
            f"{item.name:10s} {item.selection.chosen}  U_pp {score.u_pp:.4f}  {int(item.mask.sum())} px  {shape}"
        )
    races = [item.race for item in analysis.slices if item.race]
    if races:
        n_passes, n_exhaustive = (sum(n) for n in zip(*((race.n_passes, race.n_passes_exhaustive) for race in races)))
        lines.append(
            f"{n_passes} patch passes instead of {n_exhaustive}: {n_exhaustive / max(n_passes, 1):.1f} x fewer"
        )
        for item, race in zip(analysis.slices, races):
            if race.audit:
                lines.append(f"{item.name:10s} audit: {race.audit.in_words()}")
    if analysis.flow is not None:
        lines += flow_in_words(analysis.flow)
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
