"""An ASL evaluation as files: `asl.json` for programs, `images.csv` and `segments.csv` for tables, figures, words."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pool import __version__
from pool.errors import OutputError
from pool.evaluation.asl import noise_and_uncertainty
from pool.figures.evaluation import name_outlines
from pool.figures.trials import (
    draw_answer,
    draw_dice_and_contrast,
    draw_dice_and_uncertainty,
    draw_flows,
    draw_map,
    draw_noise_and_uncertainty,
    draw_trials_curve,
    draw_uncertainties,
)
from pool.results import NOT_FOR_DIAGNOSIS
from tune.asl.evaluate import AslEvaluation
from tune.evaluation.report import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, IMAGES, SEGMENTS = "asl.json", "images.csv", "segments.csv"
UNCERTAINTIES, FLOW, TRIALS, EXAMPLES = "uncertainties.png", "flow.png", "trials.png", "examples.png"
IMAGE_QUALITY = "image-quality.png"
PAPER = {"Dice": "0.91 ± 0.04", "two uncertainties": "0.64", "flow": "0.96 (concordance 0.98)", "noise": "0.13"}
"""What Do et al. 2020 report, on six real subjects."""


def refuse_foreign_folder(out_dir: Path) -> None:
    """Refuse a folder that holds something else, before minutes of trials.

    Raises:
        OutputError: a file, or a folder with other files than an ASL evaluation's.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputError(f"{out_dir.name}", "must be a folder", "a file", "Give another --out.")
    names = [path.name for path in out_dir.iterdir()] if out_dir.exists() else []
    if names and REPORT not in names:
        rule = "must be new, empty or an earlier ASL evaluation"
        raise OutputError(f"folder {out_dir.name}", rule, names[0], "Give another --out.")


def write_report(evaluation: AslEvaluation, out_dir: Path) -> list[Path]:
    """Write tables and figures, the report last; an earlier one's are replaced.

    Raises:
        OutputError: the folder cannot be written.
    """
    files = {
        IMAGES: _csv([asdict(item.row) for item in evaluation.images]),
        SEGMENTS: _csv([asdict(row) for row in evaluation.segments]),
        **{name: png(figure) for name, figure in figures(evaluation)},
        REPORT: json.dumps(report_fields(evaluation), indent=1).encode() + b"\n",
    }
    return write_files(out_dir, files)


def report_fields(evaluation: AslEvaluation) -> dict[str, Any]:
    """All numbers but those of single images and segments."""
    entry = evaluation.member.entry
    return {
        "software": f"perfusion-pool {__version__}",
        "notice": NOT_FOR_DIAGNOSIS,
        "member": {"id": entry.id, "network": entry.network.to_dict(), "weights_sha256": entry.weights_sha256},
        "settings": evaluation.settings.to_dict(),
        "summary": asdict(evaluation.summary),
        "trials": {name: asdict(curve) for name, curve in evaluation.curves.items()},
        "without_flow": list(evaluation.reasons),
        "paper": PAPER,
    }


def in_words(evaluation: AslEvaluation) -> Iterator[str]:
    """The summary, a line a question, with what the paper found."""
    found = evaluation.summary
    dices = ", ".join(f"{kind} {mean:.3f} ± {sd:.3f}" for kind, (mean, sd) in found.dice.items())
    yield f"Dice of {found.n_images} images: {dices} (paper {PAPER['Dice']})"
    yield f"false positives {found.n_false_positive:.1f}, false negatives {found.n_false_negative:.1f} pixels an image"
    both = found.mcd_on_dice_uncertainty
    claimed = PAPER["two uncertainties"]
    yield f"MCD Uncertainty and Dice Uncertainty: R2 {both.r_squared:.2f} over {both.n} images (paper {claimed})"
    yield f"Dice and MCD Uncertainty: R2 {found.dice_on_mcd_uncertainty.r_squared:.2f}"
    yield f"Dice and contrast-to-noise ratio: R2 {found.dice_on_contrast.r_squared:.2f} (paper 0.09)"
    if found.flow is not None:
        flow = found.flow
        words = f"R2 {flow.r_squared:.2f}, concordance {flow.concordance:.2f} over {flow.n} segments"
        yield f"flow under automatic and reference outlines: {words} (paper {PAPER['flow']})"
    if found.mcd_uncertainty_on_noise is not None:
        noise = found.mcd_uncertainty_on_noise
        yield f"MCD Uncertainty and physiological noise: R2 {noise.r_squared:.2f} over {noise.n} studies (paper 0.13)"
    for name, curve in evaluation.curves.items():
        yield f"image with the {name} MCD Uncertainty, scores over those of {curve.n_all} trials:"
        columns = (curve.n_trials, curve.mcd_mean, curve.mcd_sd, curve.dice_mean, curve.dice_sd)
        for n, mcd, mcd_sd, of_dice, of_dice_sd in zip(*columns):
            yield f"  {n:5d} trials: MCD {mcd:.3f} ± {mcd_sd:.3f}, Dice {of_dice:.3f} ± {of_dice_sd:.3f}"
    yield from evaluation.reasons


def figures(evaluation: AslEvaluation) -> Iterator[tuple[str, Figure]]:
    """File name and figure."""
    rows, found = [item.row for item in evaluation.images], evaluation.summary
    figure, (left, right) = new_figure(1, 2)
    draw_uncertainties(rows, found.mcd_on_dice_uncertainty, left)
    draw_dice_and_uncertainty(rows, found.dice_on_mcd_uncertainty, right)
    yield UNCERTAINTIES, figure
    noise = found.mcd_uncertainty_on_noise
    figure, (left, *more) = new_figure(1, 1 if noise is None else 2)
    draw_dice_and_contrast(rows, found.dice_on_contrast, left)
    if noise is not None:
        draw_noise_and_uncertainty(noise_and_uncertainty(rows, evaluation.segments), noise, more[0])
    yield IMAGE_QUALITY, figure
    if found.flow is not None:
        figure, (ax,) = new_figure(1, 1)
        segments = evaluation.segments
        draw_flows([row.automatic for row in segments], [row.reference for row in segments], found.flow, ax)
        yield FLOW, figure
    if evaluation.curves:
        figure, panels = new_figure(1, len(evaluation.curves))
        for (name, curve), ax in zip(evaluation.curves.items(), panels):
            draw_trials_curve(curve, ax).set_title(f"image with the {name} MCD Uncertainty", fontsize=9)
        yield TRIALS, figure
    yield EXAMPLES, examples_figure(evaluation)


def examples_figure(evaluation: AslEvaluation) -> Figure:
    """Images with least, middle and greatest MCD Uncertainty, their outlines above their maps (Figure 5B to E)."""
    in_order = evaluation.by_uncertainty()
    shown = {"least": in_order[0], "middle": in_order[len(in_order) // 2], "greatest": in_order[-1]}
    figure, panels = new_figure(2, len(shown))
    for column, (name, item) in enumerate(shown.items()):
        above, below = panels[column], panels[len(shown) + column]
        draw_answer(item.pixels, item.truth, item.mask, above)
        draw_map(item.uncertainty, above, below)
        title = f"{name} MCD Uncertainty, {item.row.mcd_uncertainty:.2f}\n{item.row.kind}, Dice {item.row.dice:.3f}"
        above.set_title(title, fontsize=9)
    name_outlines(panels[0], "mean of the trials")
    figure.supxlabel(f"Phantom images; below, standard deviation from 0 to 0.5. {NOT_FOR_DIAGNOSIS}", fontsize=8)
    return figure


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    table = io.StringIO()
    if rows:
        writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return table.getvalue().encode()


def new_figure(n_rows: int, n_cols: int) -> tuple[Figure, list[Any]]:
    """A figure and its axes, row by row."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.9 * n_cols, 3.6 * n_rows), layout="constrained")
    return figure, list(figure.subplots(n_rows, n_cols, squeeze=False).flat)


def write_files(out_dir: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write files by name into a folder, each whole or not at all, in this order; returns where they are.

    Raises:
        OutputError: the folder cannot be written.
    """
    for name, data in files.items():
        write_whole(out_dir / name, data)
    return [out_dir / name for name in files]


def png(figure: Figure) -> bytes:
    """The figure as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()
