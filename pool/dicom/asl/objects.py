"""The DICOM objects of a finished ASL analysis: the outline as a segmentation, its uncertainty as a parametric map."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from pool import __version__
from pool.asl.analysis import AslAnalysis
from pool.dicom.asl.read import AslDicom
from pool.dicom.derived import Origin
from pool.dicom.parametric_map import write_parametric_map
from pool.dicom.segmentation import write_segmentation


def check_asl_objects(study: AslDicom) -> None:
    """Write throw-away objects, so that headers that do not suffice are found before any trial.

    Raises:
        OutputError: headers that a derived object cannot refer to.
    """
    mask = np.zeros(study.grid, dtype=bool)
    mask[:, 0, 0] = True
    with tempfile.TemporaryDirectory(prefix="dicom-check-") as folder:
        _write(Path(folder), study, mask, mask.astype(np.float32) / 2, Origin("check", "0" * 64, __version__))


def write_asl_objects(analysis: AslAnalysis, study: AslDicom, folder: Path) -> None:
    """Write `segmentation.dcm` and `umap.dcm`; neither where there is no outline, as `result.json` then says.

    Flow is a mean of a region and has no map of its own.

    Args:
        analysis: the result.
        study: what it is the result of.
        folder: exists.

    Raises:
        OutputError: headers that a derived object cannot refer to, or a folder that cannot be written.
    """
    if not analysis.mask.any():
        return
    parts = (analysis.series.content_sha256(), analysis.manifest.sha256(), analysis.settings.sha256(), __version__)
    origin = Origin("/".join(parts), analysis.manifest.sha256(), __version__)
    _write(folder, study, analysis.mask[None], analysis.uncertainty[None], origin)


def _write(folder: Path, study: AslDicom, mask: np.ndarray, uncertainty: np.ndarray, origin: Origin) -> None:
    write_segmentation(folder / "segmentation.dcm", study, mask, origin=origin)
    write_parametric_map(folder / "umap.dcm", study, uncertainty, origin=origin)
