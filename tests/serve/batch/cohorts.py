"""Cohorts of small studies whose names are a patient's."""

from __future__ import annotations

from pathlib import Path

from pool.analysis import AnalysisSettings
from pool.manifest import PoolManifest
from pool.sweep import SweepSettings
from serve.batch.settings import BatchSettings
from tests.samples import bolus_series, tiny_pool, write_npz

FAST = AnalysisSettings(sweep=SweepSettings(stride_px=16))
PATIENTS = ("SMITH_JOHN", "DOE_JANE", "MEIER_EVA")


def cohort_of(folder: Path, n_slices: int = 1) -> Path:
    """A study a patient, and one that is no study."""
    folder.mkdir()
    for number, patient in enumerate(PATIENTS):
        write_npz(folder / f"{patient}.npz", bolus_series(n_slices, n_frames=12 + number))
    (folder / "BROKEN_BOB.npz").write_bytes(b"no archive")
    return folder


def settings_in(folder: Path, analysis: AnalysisSettings = FAST, n_members: int = 2) -> BatchSettings:
    """Settings with a new tiny pool and a claimed folder of results."""
    pool_dir = folder / "pool"
    manifest = tiny_pool(pool_dir, n_members) if not pool_dir.exists() else PoolManifest.load(pool_dir)
    settings = BatchSettings.of(folder / "out", pool_dir, manifest, analysis)
    settings.claim_folder()
    settings.studies_dir.mkdir(exist_ok=True)
    return settings


def texts_below(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of results but the key, by name."""
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "key.csv"}
