"""The DICOM objects of a finished analysis, together in one folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from pool import __version__
from pool.analysis import SliceAnalysis, StudyAnalysis
from pool.blood_pools import split_blood_pools
from pool.dicom.capture import ENDO_COLOUR, EPI_COLOUR, CapturedSlice, write_capture
from pool.dicom.derived import Origin
from pool.dicom.flow_map import write_flow_map
from pool.dicom.parametric_map import write_parametric_map
from pool.dicom.read import DicomStudy
from pool.dicom.report import SliceFindings, write_report
from pool.dicom.segmentation import write_segmentation
from pool.figures.overlay import peak_frame
from pool.perfusion.results import StudyFlow


def check_dicom_objects(study: DicomStudy) -> None:
    """Write throw-away objects of a study, so that headers that do not suffice are found before any sweep.

    Raises:
        OutputError: headers that a derived object cannot refer to.
    """
    n_slices, _, n_rows, n_cols = study.series.frames.shape
    mask = np.zeros((n_slices, n_rows, n_cols), dtype=bool)
    mask[:, 0, 0] = True
    origin = Origin("check", "0" * 64, __version__)
    with tempfile.TemporaryDirectory(prefix="dicom-check-") as folder:
        drawn = write_segmentation(Path(folder) / "segmentation.dcm", study, mask, origin=origin)
        write_parametric_map(Path(folder) / "umap.dcm", study, mask.astype(np.float32) / 2, origin=origin)
        found = [SliceFindings(s, name, 1.0, 0.0, 0.0, "", "") for s, name in enumerate(study.series.slice_names)]
        write_report(Path(folder) / "report.dcm", study, found, drawn, origin=origin)


def write_dicom_objects(analysis: StudyAnalysis, study: DicomStudy, folder: Path, *, labelmap: bool = False) -> None:
    """Write segmentation, U-map, report and contours, and with a flow `mbf.dcm`.

    None where no slice has an outline, as `result.json` then says.

    Args:
        analysis: the result.
        study: what it is the result of.
        folder: exists.
        labelmap: see `write_segmentation`.

    Raises:
        OutputError: headers that a derived object cannot refer to, or a folder that cannot be written.
    """
    if not analysis.masks.any():
        return
    few = analysis.few_answers
    parts = (analysis.series.content_sha256(), analysis.manifest.sha256(), analysis.settings.sha256(), __version__)
    origin = Origin("/".join((*parts, few) if few else parts), analysis.manifest.sha256(), __version__, few)
    pools = blood_pools(analysis)
    drawn = write_segmentation(
        folder / "segmentation.dcm",
        study,
        analysis.masks,
        lv_blood=pools[0] if pools else None,
        rv_blood=pools[1] if pools else None,
        labelmap=labelmap,
        origin=origin,
    )
    write_parametric_map(folder / "umap.dcm", study, analysis.uncertainties, origin=origin)
    flow = analysis.flow if isinstance(analysis.flow, StudyFlow) else None
    segments = flow.segments if flow is not None else None
    write_report(folder / "report.dcm", study, _findings(analysis), drawn, flow=segments, origin=origin)
    captured = [_captured(s, item, study) for s, item in enumerate(analysis.slices)]
    write_capture(folder / "contours.dcm", study, captured, origin=origin)
    if flow is not None:
        maps = flow.mbf_maps(analysis.series.slice_names, analysis.slices[0].mask.shape)
        if np.isfinite(maps).any():  # else every pixel's fit failed, which the result says
            write_flow_map(folder / "mbf.dcm", study, maps, origin=origin)


def blood_pools(analysis: StudyAnalysis) -> tuple[np.ndarray, np.ndarray] | None:
    """LV and RV cavities, bool `slice row col` on the native grid; None for pools that know no blood."""
    blood, spacing_mm = analysis.blood, analysis.series.pixel_spacing_mm
    if blood is None or spacing_mm is None:
        return None
    pairs = [split_blood_pools(mask, one, spacing_mm) for mask, one in zip(analysis.masks, blood, strict=True)]
    return np.stack([lv for lv, _ in pairs]), np.stack([rv for _, rv in pairs])


def _findings(analysis: StudyAnalysis) -> list[SliceFindings]:
    spacing_mm = analysis.series.pixel_spacing_mm
    assert spacing_mm is not None  # DICOM always has it
    found = []
    for s, item in enumerate(analysis.slices):
        chosen = item.selection.chosen
        score = item.selection.score_of(chosen) if chosen is not None else None
        if score is None or score.u_pp is None or score.u_tot is None or not item.mask.any():
            continue
        area_mm2 = int(item.mask.sum()) * spacing_mm[0] * spacing_mm[1]
        found.append(
            SliceFindings(s, item.name, area_mm2, score.u_pp, score.u_tot, score.member_id, item.selection.rule)
        )
    return found


def _captured(s: int, item: SliceAnalysis, study: DicomStudy) -> CapturedSlice:
    times_s = study.series.times_s[s]
    wanted_s = np.linspace(times_s[0], times_s[-1], len(item.prepared.frames))[peak_frame(item)]
    contours = []
    if item.contours is not None:
        contours = [(item.contours.epi_px, EPI_COLOUR), (item.contours.endo_px, ENDO_COLOUR)]
    score = item.selection.score_of(item.selection.chosen) if item.selection.chosen is not None else None
    said = f"{score.member_id}, U_pp {score.u_pp:.4f}" if score else f"no outline: {item.selection.reason}"
    return CapturedSlice(
        study.series.frames[s, int(np.abs(times_s - wanted_s).argmin())],
        [(points, colour) for points, colour in contours if points is not None],
        f"{item.name}: {said}",
    )
