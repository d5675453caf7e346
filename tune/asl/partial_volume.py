"""What false negatives and false positives do to blood flow: reference outlines a pixel thinner and thicker, shown.

Do et al. 2020, Figure S7.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pool.evaluation.partial_volume import MovedOutline, OutlineErrors, thick, thin
from pool.figures.evaluation import draw_outline, name_outlines
from pool.figures.trials import draw_flows
from pool.phantom.asl import AslStudy
from pool.results import NOT_FOR_DIAGNOSIS
from pool.shapes import MYOCARDIUM
from tune.asl.images import AslImages
from tune.asl.report import new_figure, png, write_files

REPORT, FIGURE = "partial-volume.json", "partial-volume.png"


def write_partial_volume(moved: Sequence[MovedOutline], example: AslStudy, out_dir: Path) -> list[Path]:
    """Write a figure (the outlines of one study, flow under each against the reference) and a report, the report last.

    Args:
        moved: thin and thick outlines of all studies.
        example: the study whose outlines are shown.
        out_dir: folder, made if it does not exist.

    Raises:
        OutputError: the folder cannot be written.
    """
    figure, panels = new_figure(2, 2)
    truth, image = example.labels == MYOCARDIUM, AslImages.of_studies([example], 1).pixels[0]
    for change, found, above, below in zip((thin, thick), moved, panels[:2], panels[2:]):
        draw_outline(image - float(image.min()), truth, change(truth), above)
        mean, sd = found.errors.dice
        above.set_title(f"reference and {found.errors.name} outline, Dice {mean:.2f} ± {sd:.2f}", fontsize=9)
        if found.flow is not None:
            automatic, reference = zip(*((row.automatic, row.reference) for row in found.segments))
            draw_flows(automatic, reference, found.flow, below)
            below.set_ylabel(f"MBF, {found.errors.name} outline (mL/min/g)")
    name_outlines(panels[0], "moved")
    figure.supxlabel(f"Phantom studies. {NOT_FOR_DIAGNOSIS}", fontsize=8)
    fields = {found.errors.name: found.to_dict() for found in moved}
    files = {FIGURE: png(figure), REPORT: json.dumps(fields, indent=1).encode() + b"\n"}
    return write_files(out_dir, files)


def errors_in_words(errors: OutlineErrors) -> str:
    """One network, or one outline."""
    mean, sd = errors.dice
    wrong = f"false positives {errors.n_false_positive:5.1f}, false negatives {errors.n_false_negative:5.1f}"
    return f"{errors.name:22s} {wrong} pixels an image, Dice {mean:.3f} ± {sd:.3f}"


def moved_in_words(moved: MovedOutline) -> str:
    """What moving the outlines gets wrong, and what it does to blood flow."""
    return "; ".join([errors_in_words(moved.errors), *_flow(moved)])


def _flow(moved: MovedOutline) -> Iterator[str]:
    if moved.flow_bias is None:
        yield "no segment with flow"
    else:
        yield f"flow {moved.flow_bias:+.2f} mL/min/g over {len(moved.segments)} segments"
    if moved.flow is not None:
        yield f"slope {moved.flow.slope:.2f}, R2 {moved.flow.r_squared:.2f}"
    if moved.n_empty:
        yield f"nothing left of {moved.n_empty} studies"
