"""Phantom studies as DICOM files, in the dialects of the manufacturers; shares nothing with the reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pool.errors import OutputError, SettingsError
from pool.phantom.dicom_classic import write_ge, write_philips, write_siemens
from pool.phantom.dicom_enhanced import write_siemens_xa
from pool.phantom.study_types import PhantomStudy

DIALECTS: dict[str, Callable[[PhantomStudy, Path], list[Path]]] = {
    "siemens": write_siemens,
    "ge": write_ge,
    "philips": write_philips,
    "siemens-xa": write_siemens_xa,
}
"""Writers by dialect: three classic ones, and Siemens' enhanced multi-frame files."""


def write_dicom_study(study: PhantomStudy, out_dir: str | Path, dialect: str = "siemens") -> list[Path]:
    """Write a study as DICOM files.

    Args:
        study: the study; the same study gives the same bytes.
        out_dir: a folder that is new or empty.
        dialect: whose way of writing.

    Returns:
        The files, slice by slice, in order of time.

    Raises:
        SettingsError: an unknown dialect; the text lists those that exist.
        OutputError: the folder holds something already.
    """
    if dialect not in DIALECTS:
        raise SettingsError("DICOM dialect", f"must be one of {', '.join(DIALECTS)}", repr(dialect))
    folder = Path(out_dir)
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"folder {folder.name}", "must be new or empty", remedy="Choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    return DIALECTS[dialect](study, folder)


def write_truth(study: PhantomStudy, out_dir: str | Path) -> Path:
    """Write `truth.npz`: labels, flow and slice names, on the native grid of the files.

    Fields: `labels`, `anatomical_labels` (uint8 `slice row col`), `mbf_ml_min_g` (float32), `insertion_px`
    (anterior and inferior, row and col), `slice_names`,
    `times_s` (`slice time`), `pixel_spacing_mm`, `stress`.
    """
    path = Path(out_dir) / "truth.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        labels=study.labels,
        anatomical_labels=study.anatomical_labels,
        mbf_ml_min_g=study.mbf_ml_min_g.astype(np.float32),
        insertion_px=study.insertion_px,
        slice_names=np.array(study.series.slice_names),
        times_s=study.series.times_s,
        pixel_spacing_mm=np.array(study.series.pixel_spacing_mm),
        stress=np.array(study.stress),
    )
    return path
