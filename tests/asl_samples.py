"""A mixed pool of untrained members, and an ASL study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from pool.calibration import Calibration
from pool.manifest import MemberEntry, PoolManifest, save_manifest
from pool.networks import NetworkSpec
from tests.samples import tiny_pool

N_TRIALS = 60
KINDS = ("mcd-unet", "prob-unet")
FLAT = Calibration("mcd_uncertainty", ((0.1, 0.8),), 30, 0.0, "0" * 64, n_trials=N_TRIALS)


def write_asl_npz(path: Path, seed: int = 0, image_px: int = 32) -> Path:
    """Three pairs of images of a ring, with baseline and inversion times."""
    draws = np.random.default_rng(seed)
    rows, cols = np.indices((image_px, image_px)) - (image_px - 1) / 2
    ring = np.exp(-((np.hypot(rows, cols) - image_px / 4) ** 2) / 8)
    control, labelled = (100 * ring * scale + draws.normal(0, 2, (3, image_px, image_px)) for scale in (1.0, 0.98))
    np.savez(
        path,
        control=control.astype(np.float32),
        labelled=labelled.astype(np.float32),
        baseline=(120 * ring + 5).astype(np.float32),
        ti_s=np.full((3, 2), 1.0),
        pixel_spacing_mm=np.array([2.0, 2.0]),
    )
    return path


def trials_manifest() -> PoolManifest:
    """A manifest without weights, a member of trials a kind."""
    return PoolManifest("trials", tuple(_entry(kind, NetworkSpec(kind, 4, 2, 1, 3), "0" * 64) for kind in KINDS))


def mixed_pool(folder: Path, n_patches: int = 2) -> PoolManifest:
    """A pool folder with members of patches and of both kinds of trials."""
    members = list(tiny_pool(folder, n_patches).members)
    for kind in KINDS:
        manifest = tiny_pool(folder / kind, 1, NetworkSpec(kind, 4, 2, 1, 3))
        (folder / kind / manifest.members[0].weights_name).rename(folder / f"{kind}.safetensors")
        members.append(_entry(kind, manifest.members[0].network, manifest.members[0].weights_sha256))
    manifest = PoolManifest("mixed", tuple(members))
    save_manifest(folder, manifest)
    return manifest


def _entry(kind: str, spec: NetworkSpec, sha256: str) -> MemberEntry:
    known = replace(FLAT, knots=((0.1, 0.7 + 0.1 * KINDS.index(kind)),))
    return MemberEntry(kind, 0, 1, 0.8, spec, sha256, known)
