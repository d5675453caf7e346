"""`python -m pool reserve STRESS REST --out DIR`: perfusion reserve from two results of one patient."""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pool.errors import InconsistentStudyError, OutputError, UnreadableFileError
from pool.perfusion.reserve import SegmentReserve, perfusion_reserve
from pool.perfusion.results import AifRecord, SegmentFlow, StudyFlow

TOP_OF_SCALE = 4.0
"""Of the bullseye: a healthy reserve."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `reserve` to a command line's subcommands."""
    command = commands.add_parser("reserve", help="stress over rest flow of one patient, segment by segment")
    command.add_argument("stress", type=Path, help="result folder of the stress study")
    command.add_argument("rest", type=Path, help="result folder of the rest study")
    command.add_argument("--out", type=Path, required=True, help="folder for reserve.json and reserve.png")
    command.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    refuse_other_patient(options.stress, options.rest)
    found = perfusion_reserve(read_flow(options.stress), read_flow(options.rest))
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "reserve.json").write_text(json.dumps([asdict(item) for item in found], indent=1) + "\n")
        (options.out / "reserve.png").write_bytes(reserve_png(found))
    except OSError as error:
        raise OutputError(f"folder {options.out.name}", "must be writable", error.strerror or "") from error
    for item in found:
        value = "-" if item.mpr is None else f"{item.mpr:.2f} +- {item.standard_error:.2f}"
        print(f"{item.number:2d} {item.name:22s} {value} {item.reason}".rstrip())


def read_flow(folder: Path) -> StudyFlow:
    """The flow of a result folder, without its maps.

    Raises:
        UnreadableFileError: no `result.json`, or one without a flow.
    """
    path = folder / "result.json"
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["flow"] or {}
        if "reason" in fields:
            raise UnreadableFileError(f"result {folder.name}", "must have a blood flow", str(fields["reason"]))
        segments = tuple(
            SegmentFlow(
                **{key: value for key, value in item.items() if key not in ("mbf_range", "mbf_runners_up")},
                mbf_runners_up=tuple(item["mbf_runners_up"]),
            )
            for item in fields["segments"]
        )
        return StudyFlow(AifRecord(**fields["aif"]), (), segments, fields["state"], fields["settings_sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFileError(
            f"result {folder.name}",
            "must hold a result.json with a blood flow",
            type(error).__name__,
            "Analyse it first.",
        ) from error


def refuse_other_patient(stress: Path, rest: Path) -> None:
    """Refuse results whose DICOM objects are of two patients; without such objects the user knows.

    Raises:
        InconsistentStudyError: two patients.
    """
    objects = [folder / "segmentation.dcm" for folder in (stress, rest)]
    if not all(path.is_file() for path in objects):
        return
    from pydicom import dcmread  # needed here alone

    patients = {str(dcmread(path, stop_before_pixels=True).get("PatientID", "")) for path in objects}
    if len(patients) > 1:
        raise InconsistentStudyError(
            "perfusion reserve", "stress and rest must be of one patient", "two PatientIDs", "Give matching results."
        )


def reserve_png(found: tuple[SegmentReserve, ...]) -> bytes:
    """Bullseye of the reserve as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from pool.figures.flow import draw_bullseye

    figure = Figure(figsize=(3.6, 3.8), layout="constrained")
    ax = figure.subplots()
    draw_bullseye({item.number: item.mpr for item in found}, TOP_OF_SCALE, ax, digits=1)
    ax.set_title("perfusion reserve (stress / rest)", fontsize=10)
    figure.supxlabel("Research use only, not for diagnosis.", fontsize=7)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()
