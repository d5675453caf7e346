"""`python -m pool flow-check`: flow of phantom studies under their true masks against the truth, and how long it takes.

The table says what the method reaches where the outline is perfect; `python -m tune evaluate --mbf` says what the
outlines of a pool make of it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pool.errors import PoolError
from pool.evaluation.agreement import agreement
from pool.perfusion.arterial import PREBOLUS, AifSeries
from pool.perfusion.measure import measure_flow
from pool.perfusion.regions import SliceRegions
from pool.perfusion.results import StudyFlow
from pool.perfusion.sequence import SequenceValues
from pool.perfusion.settings import FlowSettings
from pool.phantom.presets import PRESETS, get_preset
from pool.phantom.study import make_study
from pool.phantom.study_files import study_seed
from pool.phantom.study_types import PhantomStudy, ScanValues
from pool.shapes import BLOOD_POOL, MYOCARDIUM


@dataclass(frozen=True)
class CheckedSegment:
    """One segment's flow and its truth."""

    stress: bool
    """Whether it is of a stress study."""
    true_ml_min_g: float
    """Mean true flow of its pixels [mL/min/g]."""
    mbf_ml_min_g: float | None
    """Measured flow [mL/min/g]; None where the fit failed."""
    model_free: float | None
    """The same without a model [mL/min/g]."""


def sequence_of(scan: ScanValues) -> SequenceValues:
    """Sequence values of a phantom's scanner."""
    return SequenceValues(
        readout=scan.readout,
        ti_s=1e-3 * scan.ti_ms,
        flip_deg=scan.flip_deg,
        tr_s=1e-3 * scan.tr_ms,
        te_s=1e-3 * scan.te_ms,
        field_t=scan.field_t,
        n_pulses_before=scan.n_pulses_before,
    )


def true_outlines(study: PhantomStudy) -> Mapping[int, SliceRegions]:
    """The expert's labels of all slices as outlines."""
    spacing = study.series.pixel_spacing_mm
    assert spacing is not None  # a phantom always has one
    return {
        i: SliceRegions.of(name, name, labels == MYOCARDIUM, labels == BLOOD_POOL, spacing)
        for i, (name, labels) in enumerate(zip(study.series.slice_names, study.labels))
    }


def against_truth(study: PhantomStudy, flow: StudyFlow) -> list[CheckedSegment]:
    """Every measured segment beside the mean true flow of the pixels that its curve is the mean of."""
    found = []
    for item in flow.segments:
        at = study.series.slice_names.index(item.slice_name)
        shown = next(s for s in flow.slices if s.name == item.slice_name)
        mask = shown.averaged & (shown.segment == item.number) & (study.mbf_ml_min_g[at] > 0)
        if mask.any():
            truth = float(study.mbf_ml_min_g[at][mask].mean())
            found.append(CheckedSegment(study.stress, truth, item.mbf_ml_min_g, item.mbf_model_free))
    return found


def measure_phantom(study: PhantomStudy, settings: FlowSettings | None = None) -> StudyFlow:
    """Flow of a phantom study under its true masks, by its prebolus if it has one."""
    other = None if study.prebolus is None else AifSeries(study.prebolus.series, PREBOLUS)
    return measure_flow(study.series, sequence_of(study.scan), true_outlines(study), settings, other=other)[0]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `flow-check` to a command line's subcommands."""
    command = commands.add_parser("flow-check", help="blood flow of phantoms under true masks against the truth")
    command.add_argument("--presets", default="inD,exD-1", help=f"of {', '.join(PRESETS)} (default %(default)s)")
    command.add_argument("--studies", type=int, default=10, help="a preset (default %(default)s)")
    command.add_argument("--seed", type=int, default=1, help="of the phantoms (default %(default)s)")
    command.add_argument("--single-bolus", action="store_true", help="input function from the main bolus itself")
    command.add_argument("--threads", type=int, default=1, help="torch threads (default %(default)s)")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(options.threads)
    everything: list[CheckedSegment] = []
    seconds: list[float] = []
    for name in options.presets.split(","):
        preset = get_preset(name.strip())
        found: list[CheckedSegment] = []
        for number in range(1, options.studies + 1):
            study = make_study(preset, study_seed(options.seed, number), dual_bolus=not options.single_bolus)
            start = time.perf_counter()
            try:
                flow = measure_phantom(study)
            except PoolError as error:
                print(f"{name} study {number}: {error}", file=sys.stderr)
                continue
            seconds.append(time.perf_counter() - start)
            found += against_truth(study, flow)
        print_rows(name, found)
        everything += found
    print_rows("all", everything)
    if seconds:
        print(f"seconds a study: median {np.median(seconds):.2f}, greatest {max(seconds):.2f}")


def print_rows(name: str, found: list[CheckedSegment]) -> None:
    """A line each for all, stress and rest segments, and for the cross-check without a model."""
    for part, rows in (
        (name, found),
        (f"{name} stress", [row for row in found if row.stress]),
        (f"{name} rest", [row for row in found if not row.stress]),
    ):
        good = [(row.mbf_ml_min_g, row.true_ml_min_g) for row in rows if row.mbf_ml_min_g is not None]
        if len(good) < 3:
            continue
        measured, truth = np.array(good).T
        a = agreement(measured, truth)
        print(
            f"{part:14s} n {a.n:4d}  failed {len(rows) - a.n:3d}  bias {a.bias_percent:+5.1f} %  limits "
            f"{a.limits_percent[0]:+5.1f} to {a.limits_percent[1]:+5.1f} %  R2 {a.r_squared:.3f}"
        )
    free = [(row.model_free, row.true_ml_min_g) for row in found if row.model_free is not None]
    if free:
        measured, truth = np.array(free).T
        error = 100 * np.abs(measured / truth - 1)
        median, most = np.quantile(error, (0.5, 0.9))
        print(f"{name} without a model: median error {median:.1f} %, nine tenths within {most:.0f} %")
