"""A study's result as files: `result.json`, `maps.npz`, `members.npz`, two PNGs, NIfTI and the DICOM objects.

Files hold no time stamps: the same study, pool and settings give the same bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pool.analysis import SliceAnalysis, StudyAnalysis
from pool.nifti_out import write_nifti_maps
from pool.output import whole_folder
from pool.perfusion.results import StudyFlow
from pool.run_choice import Role
from pool.series import PerfusionSeries
from pool.shapes import BLOOD_POOL, MYOCARDIUM

if TYPE_CHECKING:
    from pool.dicom.read import DicomStudy

SCHEMA = "perfusion-pool/result/1"
UNKNOWN_THICKNESS_MM = 8.0
"""Third axis of a NIfTI file that holds one slice, where the headers do not say [mm]."""
NOT_FOR_DIAGNOSIS = "Research use only. Not for diagnosis."


def result_dict(analysis: StudyAnalysis) -> dict[str, Any]:
    """`result.json` as fields: hashes, and per slice who was chosen, from which scores, and what was done to it.

    A member's `u_pp` is that of a full sweep, or null. One that left a race early has `u_pp_estimate` instead, over
    the first `n_patches` alone.
    """
    manifest, settings = analysis.manifest, analysis.settings
    return {
        "schema": SCHEMA,
        "notice": NOT_FOR_DIAGNOSIS,
        "software": analysis.software,
        "study": {
            "sha256": analysis.series.content_sha256(),
            "n_slices": analysis.series.n_slices,
            "n_frames": analysis.series.n_frames,
            "pixel_spacing_mm": analysis.series.pixel_spacing_mm,
            "remarks": list(analysis.series.remarks),
        },
        "pool": {"name": manifest.name, "sha256": manifest.sha256(), "n_members": manifest.n_members},
        "few_answers": analysis.few_answers or None,
        "settings": {"sha256": settings.sha256(), **asdict(settings)},
        "slices": [_slice_dict(item, analysis.series) for item in analysis.slices],
        "flow": analysis.flow.to_dict() if analysis.flow is not None else None,
    }


def _slice_dict(item: SliceAnalysis, series: PerfusionSeries) -> dict[str, Any]:
    chosen = item.selection.score_of(item.selection.chosen) if item.selection.chosen is not None else None
    n_pixels = int(item.mask.sum())
    spacing = series.pixel_spacing_mm
    contours = item.contours
    return {
        "name": item.name,
        "chosen": item.selection.chosen,
        "reason": item.selection.reason,
        "n_answers": len(item.member_masks),
        "u_pp": chosen.u_pp if chosen else None,
        "u_tot": chosen.u_tot if chosen else None,
        "n_myo_native_px": n_pixels,
        "area_mm2": n_pixels * spacing[0] * spacing[1] if spacing else None,
        "contours": {
            "traced_on": "prepared grid",
            "closed_ring": contours.closed_ring if contours else False,
            "n_pieces": contours.n_pieces if contours else 0,
            "epi_native_px": _rounded(series, contours.epi_px, item.mask.shape) if contours else None,
            "endo_native_px": _rounded(series, contours.endo_px, item.mask.shape) if contours else None,
        },
        "preparation": item.prepared.record(),
        "members": [
            {
                "id": score.member_id,
                "u_pp": score.u_pp,
                "u_pp_estimate": score.u_pp_estimate,
                "n_patches": score.n_patches,
                "u_tot": score.u_tot,
                "n_myo": score.n_myo,
                "validation_dice": score.validation_dice,
                "eligible": not score.ineligible,
                "ineligible_reason": score.ineligible or None,
            }
            for score in item.selection.scores
        ],
        "race": item.race.to_dict() if item.race else None,
    }


def _rounded(series: PerfusionSeries, points: np.ndarray | None, shape: tuple[int, ...]) -> list[list[float]] | None:
    """Contour points (row, col) on the grid of the input, to a thousandth of a pixel."""
    if points is None:
        return None
    turned = points.copy()
    for axis, flip in enumerate(series.flipped):
        if flip:
            turned[:, axis] = shape[axis] - 1 - turned[:, axis]
    return [[round(float(row), 3), round(float(col), 3)] for row, col in turned]


def result_json(analysis: StudyAnalysis) -> bytes:
    """`result.json` as bytes; NaN never enters it."""
    return (json.dumps(result_dict(analysis), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def maps_npz(analysis: StudyAnalysis) -> bytes:
    """`maps.npz`: `mask` bool, `probability` and `uncertainty` float32, `slice row col` on the grid of the input."""
    to_input_grid = analysis.series.to_input_grid
    return _npz(
        {
            "mask": to_input_grid(analysis.masks),
            "probability": to_input_grid(analysis.probabilities),
            "uncertainty": to_input_grid(analysis.uncertainties),
            **{name: to_input_grid(maps) for name, maps in _flow_maps(analysis).items()},
        }
    )


def _flow_maps(analysis: StudyAnalysis) -> dict[str, np.ndarray]:
    """`mbf_ml_min_g` float32, NaN where there is none, and `segment` uint8, `slice row col`; nothing without a flow."""
    if not isinstance(analysis.flow, StudyFlow):
        return {}
    names, shape = analysis.series.slice_names, analysis.slices[0].mask.shape
    return {
        "mbf_ml_min_g": analysis.flow.mbf_maps(names, shape),
        "segment": analysis.flow.segment_maps(names, shape),
    }


def members_npz(analysis: StudyAnalysis) -> bytes:
    """`members.npz`: `ids`, `mask` bool `member slice row col` on the grid of the input; failed members: False.

    Masks are final whether or not a member left a race early.
    """
    ids = [entry.id for entry in analysis.manifest.of_patches]
    empty = np.zeros_like(analysis.slices[0].mask)
    masks = np.stack([[item.member_masks.get(member_id, empty) for item in analysis.slices] for member_id in ids])
    return _npz({"ids": np.array(ids), "mask": analysis.series.to_input_grid(masks)})


def _with_state(analysis: StudyAnalysis, dicom: DicomStudy | None) -> StudyAnalysis:
    """The flow's state from the headers, where nobody said it: reserve compares stress with rest by it."""
    flow = analysis.flow
    if dicom is None or not isinstance(flow, StudyFlow) or flow.state or dicom.role not in (Role.STRESS, Role.REST):
        return analysis
    return replace(analysis, flow=replace(flow, state=str(dicom.role)))


def write_results(
    analysis: StudyAnalysis, out_dir: Path, dicom: DicomStudy | None = None, *, labelmap: bool = False
) -> list[Path]:
    """Write every file of a result into a folder that appears whole or not at all.

    Args:
        analysis: the result.
        out_dir: a new or empty folder, or one that holds an earlier result, which is then replaced.
        dicom: the headers of the study, if it came as DICOM: then the DICOM objects are written too.
        labelmap: `segmentation.dcm` as a label map instead of BINARY.

    Returns:
        The files, in `out_dir`.

    Raises:
        OutputError: `out_dir` is a file, holds other files, or cannot be written.
    """
    from pool.figures.members import members_png
    from pool.figures.overlay import overlay_png

    analysis = _with_state(analysis, dicom)
    with whole_folder(Path(out_dir)) as staging:
        (staging / "maps.npz").write_bytes(maps_npz(analysis))
        (staging / "members.npz").write_bytes(members_npz(analysis))
        (staging / "overlay.png").write_bytes(overlay_png(analysis))
        (staging / "members.png").write_bytes(members_png(analysis))
        if isinstance(analysis.flow, StudyFlow):
            from pool.figures.flow import flow_png

            (staging / "flow.png").write_bytes(flow_png(analysis.flow))
        if dicom is not None:
            from pool.dicom.objects import write_dicom_objects

            write_dicom_objects(analysis, dicom, staging, labelmap=labelmap)
        thickness_mm = (dicom.thickness_mm if dicom is not None else None) or UNKNOWN_THICKNESS_MM
        write_nifti_maps(drawn_labels(analysis), analysis.series, staging, "segmentation", thickness_mm)
        write_nifti_maps(analysis.uncertainties, analysis.series, staging, "umap", thickness_mm)
        (staging / "result.json").write_bytes(result_json(analysis))
        names = sorted(path.name for path in staging.iterdir())
    return [Path(out_dir) / name for name in names]


def drawn_labels(analysis: StudyAnalysis) -> np.ndarray:
    """uint8 `slice row col`, native grid: 1 myocardium, 2 blood pool, as `pool.masks` reads drawn masks by default."""
    labels = np.where(analysis.masks, MYOCARDIUM, 0).astype(np.uint8)
    if analysis.blood is not None:
        labels[analysis.blood] = BLOOD_POOL
    return labels


def check_study_output(dicom: DicomStudy | None) -> None:
    """Refuse a DICOM study whose headers no object could refer to, before minutes of work.

    Raises:
        OutputError: names what cannot be written.
    """
    if dicom is not None:
        from pool.dicom.objects import check_dicom_objects

        check_dicom_objects(dicom)


def _npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """As `numpy.savez_compressed`, with fixed time stamps, so that equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, np.asarray(array), allow_pickle=False)
            archive.writestr(
                zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0)), content.getvalue(), zipfile.ZIP_DEFLATED
            )
    return buffer.getvalue()
