"""Options of the command line that say how blood flow is measured, and what a measurement says in words."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from pool.errors import SettingsError, StudyError
from pool.flow import FlowInputs
from pool.inputs import open_study
from pool.perfusion.arterial import AIF_SERIES, PREBOLUS, AifSeries
from pool.perfusion.results import NoFlow, StudyFlow
from pool.perfusion.sequence import AGENTS, SequenceValues
from pool.perfusion.settings import FlowSettings
from pool.series import PerfusionSeries


def add_flow_options(command: argparse.ArgumentParser) -> None:
    """Add the options to a subcommand."""
    group = command.add_argument_group("blood flow")
    default = FlowSettings()
    group.add_argument("--no-flow", action="store_true", help="outline only")
    group.add_argument("--prebolus", type=Path, metavar="STUDY", help="prebolus of a dual-bolus study")
    group.add_argument("--dose-ratio", type=float, default=default.dose_ratio, help="main over prebolus (%(default)s)")
    group.add_argument("--aif", type=Path, metavar="STUDY", help="low-resolution series of the input function")
    group.add_argument(
        "--aif-sequence", type=Path, metavar="JSON", help="its sequence, where its headers do not say it"
    )
    group.add_argument(
        "--sequence",
        type=Path,
        metavar="JSON",
        help="readout, ti_s, flip_deg, tr_s, te_s, field_t, n_pulses_before; overrides the headers",
    )
    agents = sorted({name for known in AGENTS.values() for name in known})
    group.add_argument("--agent", choices=agents, default=default.agent, help="contrast agent (%(default)s)")
    group.add_argument(
        "--septum-deg", type=float, help="middle of the septum, clockwise from the image's right [degrees]"
    )
    group.add_argument("--t1-blood", type=float, metavar="S", help="measured native T1 of blood [s]")
    group.add_argument("--t1-myocardium", type=float, metavar="S", help="measured native T1 of myocardium [s]")
    group.add_argument("--state", choices=("stress", "rest"), help="state of the patient")
    group.add_argument("--allow-clipped", action="store_true", help="measure flow from a clipped input function too")


def flow_settings(options: argparse.Namespace) -> FlowSettings | None:
    """Settings of a measurement; None where none is wanted."""
    if options.no_flow:
        return None
    return FlowSettings(
        agent=options.agent,
        t1_blood_s=options.t1_blood,
        t1_myocardium_s=options.t1_myocardium,
        dose_ratio=options.dose_ratio,
        septum_deg=options.septum_deg,
        allow_clipped=options.allow_clipped,
    )


def flow_inputs(options: argparse.Namespace, series: PerfusionSeries) -> tuple[PerfusionSeries, FlowInputs]:
    """The series with its sequence, and the other series that were named.

    Raises:
        SettingsError: both a prebolus and an AIF series, or a sequence file that is none.
        StudyError: a series that cannot be read.
    """
    if options.prebolus is not None and options.aif is not None:
        raise SettingsError("input function", "is from --prebolus or from --aif", "both", "Give one of them.")
    if options.sequence is not None:
        series = replace(series, sequence=read_sequence(options.sequence))
    other = None
    if options.prebolus is not None:
        other = AifSeries(open_study(options.prebolus).series, PREBOLUS)
    elif options.aif is not None:
        aif = open_study(options.aif).series
        sequence = read_sequence(options.aif_sequence) if options.aif_sequence else aif.sequence
        if sequence is None:
            raise StudyError(
                "AIF series", "needs a known sequence", "none in its headers", "Give it with --aif-sequence."
            )
        other = AifSeries(aif, AIF_SERIES, sequence)
    return series, FlowInputs(other=other, state=options.state)


def read_sequence(path: Path) -> SequenceValues:
    """Sequence values from a JSON file.

    Raises:
        SettingsError: no file, no JSON, or other fields.
    """
    try:
        return SequenceValues(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"file {path.name}", "must be readable", error.strerror or "") from error
    except (ValueError, TypeError) as error:
        fields = ", ".join(name for name in SequenceValues.__dataclass_fields__ if name != "pulses_estimated")
        raise SettingsError(f"file {path.name}", f"must be JSON with the fields {fields}", "other content") from error


def flow_in_words(flow: StudyFlow | NoFlow) -> list[str]:
    """A line on the input function, one a slice with its segments' flow [mL/min/g], and what was assumed."""
    if isinstance(flow, NoFlow):
        return [f"no blood flow: {flow.reason}"]
    aif = flow.aif
    lines = [
        f"blood flow in mL/min/g, input {aif.source}: peak {aif.peak_mm:.1f} mmol/L, saturation {aif.saturation:.0%}"
    ]
    for item in flow.slices:
        values = [
            f"{s.number}: {s.mbf_ml_min_g:.2f}" if s.mbf_ml_min_g is not None else f"{s.number}: -"
            for s in flow.segments
            if s.slice_name == item.name
        ]
        lines.append(f"{item.name:10s} {'  '.join(values)}")
    return lines + [f"blood flow: {remark}" for remark in flow.remarks]
