"""One phantom ASL study, and a pool of two kinds of untrained members."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pool.calibration import Calibration
from pool.manifest import PoolManifest, save_manifest
from pool.networks import NetworkSpec
from pool.phantom.asl_files import write_asl_studies
from pool.phantom.presets import get_preset
from tests.samples import tiny_pool

FLAT = Calibration("mcd_uncertainty", ((0.1, 0.8),), 30, 0.0, "0" * 64, n_trials=4)


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("asl") / "studies"
    (path,) = write_asl_studies(folder, get_preset("inD"), 1, 4)
    return path


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two untrained members of two kinds; of the second, better things are expected."""
    folder = tmp_path_factory.mktemp("mixed")
    kinds = ("mcd-unet", "prob-unet")
    pools = [tiny_pool(folder / kind, 1, NetworkSpec(kind, 4, 2, 1, 3)) for kind in kinds]
    entries = []
    for kind, manifest, dice in zip(kinds, pools, (0.7, 0.8)):
        known = replace(FLAT, knots=((0.1, dice),))
        entries.append(replace(manifest.members[0], id=kind, calibration=known))
        (folder / kind / "s0-e01.safetensors").rename(folder / f"{kind}.safetensors")
    save_manifest(folder, PoolManifest("mixed", tuple(entries)))
    return folder
