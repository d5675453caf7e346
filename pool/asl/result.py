"""An ASL result as files: `result.json`, `maps.npz`, `overlay.png`, and DICOM objects of a DICOM study.

No time stamps: same study, same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pool.asl.analysis import AslAnalysis
from pool.output import whole_folder
from pool.results import NOT_FOR_DIAGNOSIS

if TYPE_CHECKING:
    from pool.dicom.asl.read import AslDicom

SCHEMA = "perfusion-pool/asl-result/1"
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_asl_result(analysis: AslAnalysis, out_dir: Path, dicom: AslDicom | None = None) -> list[Path]:
    """Write every file into a folder that appears whole or not at all.

    Args:
        analysis: the result.
        out_dir: new, empty, or an earlier result, which is then replaced.
        dicom: headers of the study; None for one that is no DICOM.

    Raises:
        OutputError: headers that DICOM objects cannot refer to; `out_dir` is a file, holds other files, or cannot be
            written.
    """
    fields = {"schema": SCHEMA, "notice": NOT_FOR_DIAGNOSIS, **analysis.to_dict()}
    with whole_folder(out_dir) as staging:
        (staging / "maps.npz").write_bytes(_npz(maps_of(analysis)))
        (staging / "overlay.png").write_bytes(_overlay_png(analysis))
        (staging / "result.json").write_text(json.dumps(fields, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        if dicom is not None:
            from pool.dicom.asl.objects import write_asl_objects  # needs highdicom; the rest does not

            write_asl_objects(analysis, dicom, staging)
        names = sorted(path.name for path in staging.iterdir())
    return [out_dir / name for name in names]


def maps_of(analysis: AslAnalysis) -> dict[str, np.ndarray]:
    """Arrays of `maps.npz`: of the chosen member, and `mask-ID`, `uncertainty-ID` of every member that answered."""
    found = {"mask": analysis.mask, "uncertainty": analysis.uncertainty}
    for member_id, maps in sorted(analysis.answers.items()):
        found |= {f"mask-{member_id}": maps.mask, f"uncertainty-{member_id}": maps.uncertainty}
    return found


def in_words(analysis: AslAnalysis) -> str:
    """A line a member, the choice, and the flow."""
    lines = []
    for score in analysis.selection.scores:
        if score.ineligible:
            lines.append(f"{score.member_id}  {score.ineligible}")
        else:
            lines.append(
                f"{score.member_id}  {score.score_name} {score.score:.3f}, expected Dice {score.expected_dice:.3f}"
            )
    chosen = analysis.selection.chosen
    lines.append(f"chosen: {chosen}" if chosen else f"no outline: {analysis.selection.reason}")
    lines.append(f"compared: {analysis.selection.how}")
    lines += [f"read: {remark}" for remark in analysis.series.remarks]
    for item in analysis.flow:
        noise = "" if item.physiological_noise is None else f" ± {item.physiological_noise:.2f} from pair to pair"
        lines.append(f"flow of {item.name}: {item.mbf_ml_min_g:.2f}{noise} mL/min/g")
    if analysis.no_flow:
        lines.append(f"no flow: {analysis.no_flow}")
    return "\n".join(lines)


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, np.ascontiguousarray(array))
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _ZIP_EPOCH), data.getvalue())
    return buffer.getvalue()


def _overlay_png(analysis: AslAnalysis) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from pool.figures.asl import draw_asl_map, draw_asl_outline

    figure = Figure(figsize=(7.4, 4.1), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_asl_outline(analysis, left)
    draw_asl_map(analysis, right)
    figure.supxlabel(NOT_FOR_DIAGNOSIS, fontsize=7)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()
