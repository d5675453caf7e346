"""ASL studies to a folder, as `python -m pool asl` reads them: `study-0001.npz` or, of DICOM files, `study-0001/`.

The truth is in `study-0001-truth.npz`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pool.errors import OutputError, SettingsError
from pool.phantom.asl import AslStudy, make_asl_study
from pool.phantom.asl_classic import write_classic
from pool.phantom.asl_enhanced import write_enhanced
from pool.phantom.presets import Preset
from pool.phantom.study_files import study_seed

ASL_DIALECTS: dict[str, Callable[[AslStudy, Path], list[Path]]] = {
    "classic": write_classic,
    "enhanced": write_enhanced,
}
"""Writers by dialect: single-frame files that say in words what they are, and a multi-frame file with ASL Context."""


def write_asl_npz(study: AslStudy, path: Path) -> None:
    """Write images, times and spacing of a study."""
    np.savez_compressed(
        path,
        control=study.control,
        labelled=study.labelled,
        baseline=study.baseline,
        ti_s=study.ti_s,
        pixel_spacing_mm=np.array(study.pixel_spacing_mm),
    )


def write_asl_studies(
    out_dir: Path,
    preset: Preset,
    n_studies: int,
    seed: int,
    on_progress: Callable[[int, int], None] | None = None,
    dialect: str | None = None,
) -> list[Path]:
    """Write studies and their truth (labels and flow); memory stays that of one study.

    Args:
        out_dir: a folder that is new or empty.
        preset: population.
        n_studies: at least one.
        seed: at least 0; the same seed gives the same pixels.
        on_progress: called with studies written and in all.
        dialect: of `ASL_DIALECTS`; then every study is a folder of DICOM files. None writes arrays.

    Returns:
        The studies.

    Raises:
        SettingsError: no studies, a negative seed, or an unknown dialect.
        OutputError: the folder holds something already.
    """
    if n_studies < 1 or seed < 0:
        raise SettingsError("ASL studies", "need at least one and a seed of at least 0", f"{n_studies}, seed {seed}")
    if dialect is not None and dialect not in ASL_DIALECTS:
        raise SettingsError("DICOM dialect of ASL", f"must be one of {', '.join(ASL_DIALECTS)}", repr(dialect))
    if out_dir.exists() and any(out_dir.iterdir()):
        raise OutputError(f"folder {out_dir.name}", "must be new or empty", remedy="Choose another folder.")
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(1, n_studies + 1):
        study = make_asl_study(preset, study_seed(seed, number))
        path = out_dir / (f"study-{number:04d}" + ("" if dialect else ".npz"))
        if dialect is None:
            write_asl_npz(study, path)
        else:
            path.mkdir()
            ASL_DIALECTS[dialect](study, path)
        np.savez_compressed(
            path.with_name(f"{path.stem}-truth.npz"),
            labels=study.labels,
            mbf_ml_min_g=study.mbf_ml_min_g,
            stress=np.array(study.stress),
        )
        paths.append(path)
        if on_progress is not None:
            on_progress(number, n_studies)
    return paths
