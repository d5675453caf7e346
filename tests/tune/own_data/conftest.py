"""Small studies with masks, written as anybody would write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from pool.series import PerfusionSeries
from tests.samples import bolus_frames, write_npz


def study_npz(path: Path, seed: int = 0) -> Path:
    """One slice; another seed is another patient."""
    frames = bolus_frames(n_frames=12, seed=seed)[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_npz(path, PerfusionSeries(frames, np.arange(12.0)[None], (1.9, 1.9), ("slice-1",)))


def ring(blood_pool: bool = True) -> np.ndarray:
    """The labels of `bolus_frames`, `row col`."""
    rows, cols = np.indices((96, 80))
    distance = np.hypot(rows - 50, cols - 42) * 1.9
    return np.where(distance < 22, 2 * blood_pool, np.where(distance < 32, 1, 0)).astype(np.uint8)


def mask_nifti(path: Path, classes: np.ndarray | None = None) -> Path:
    """A mask that knows no place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    classes = ring() if classes is None else classes
    nibabel.save(nibabel.Nifti1Image(classes.T[:, :, None], np.eye(4)), path)
    return path


@pytest.fixture
def studies(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of patients with one study and mask each."""

    def make(n_patients: int = 3, blood_pool: bool = True) -> Path:
        for i in range(n_patients):
            folder = tmp_path / "studies" / f"Smith{i}"
            study_npz(folder / "perfusion.npz", i)
            mask_nifti(folder / "mask.nii.gz", ring(blood_pool))
        return tmp_path / "studies"

    return make
