"""The DICOM objects of a finished analysis, together in one folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from pool import __version__
from pool.analysis import StudyAnalysis
from pool.dicom.derived import Origin
from pool.dicom.flow_map import write_flow_map
from pool.dicom.parametric_map import write_parametric_map
from pool.dicom.read import DicomStudy
from pool.dicom.segmentation import write_segmentation
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
        write_segmentation(Path(folder) / "segmentation.dcm", study, mask, origin=origin)
        write_parametric_map(Path(folder) / "umap.dcm", study, mask.astype(np.float32) / 2, origin=origin)


def write_dicom_objects(analysis: StudyAnalysis, study: DicomStudy, folder: Path) -> None:
    """Write `segmentation.dcm`, `umap.dcm` and, with a flow, `mbf.dcm`.

    None where no slice has an outline, as `result.json` then says.

    Raises:
        OutputError: headers that a derived object cannot refer to, or a folder that cannot be written.
    """
    if not analysis.masks.any():
        return
    identity = "/".join(
        (analysis.series.content_sha256(), analysis.manifest.sha256(), analysis.settings.sha256(), __version__)
    )
    origin = Origin(identity, analysis.manifest.sha256(), __version__)
    write_segmentation(folder / "segmentation.dcm", study, analysis.masks, origin=origin)
    write_parametric_map(folder / "umap.dcm", study, analysis.uncertainties, origin=origin)
    if isinstance(analysis.flow, StudyFlow):
        maps = analysis.flow.mbf_maps(analysis.series.slice_names, analysis.slices[0].mask.shape)
        write_flow_map(folder / "mbf.dcm", study, maps, origin=origin)
