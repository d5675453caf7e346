"""Small studies, all different, and a pool of tiny untrained networks: work of milliseconds with a full result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pool.analysis import AnalysisSettings, analyse
from pool.inputs import open_study
from pool.manifest import MemberEntry, PoolManifest, save_manifest
from pool.member import Pool
from pool.networks import NetworkSpec, build_network
from pool.results import maps_npz, result_json
from pool.weights import save_weights

TINY = NetworkSpec(width=2, n_poolings=1)
IMAGE_PX, N_FRAMES = 128, 30


def write_tiny_pool(folder: Path, n_members: int) -> PoolManifest:
    """Networks whose masks are not empty: the last bias favours myocardium a little."""
    entries = []
    for i in range(n_members):
        network = build_network(TINY, torch.Generator().manual_seed(i))
        with torch.no_grad():
            network.classify.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))  # type: ignore[union-attr,operator]
        member_id = f"tiny-{i:02d}"
        sha256 = save_weights(folder, member_id, network.state_dict())
        entries.append(MemberEntry(member_id, i, 1, 0.5, TINY, sha256))
    manifest = PoolManifest("tiny", tuple(entries), {"data": "none"})
    save_manifest(folder, manifest)
    return manifest


def write_small_study(path: Path, seed: int) -> Path:
    """One prepared slice as `.npz`: a ring that enhances after its centre, and noise of this seed."""
    rng = np.random.default_rng(seed)
    rows, cols = np.indices((IMAGE_PX, IMAGE_PX)) - IMAGE_PX / 2
    radius = np.hypot(rows + rng.uniform(-8, 8), cols + rng.uniform(-8, 8))
    time = np.linspace(0, 1, N_FRAMES)
    cavity, wall = radius < 18, (radius >= 18) & (radius < 28)
    image = 0.1 + 0.05 * rng.random((IMAGE_PX, IMAGE_PX, N_FRAMES))
    image[cavity] += 0.7 * np.exp(-(((time - 0.35) / 0.12) ** 2))
    image[wall] += 0.4 * np.exp(-(((time - 0.5) / 0.2) ** 2))
    np.savez_compressed(path, final_img=np.round(image.clip(0, 1) * 255).astype(np.float16) / np.float16(255))
    return path


def reference(study: Path, pool: Pool, settings: AnalysisSettings) -> dict[str, bytes]:
    """What the service has to answer, by name of the result file: the analysis in one process."""
    found = analyse(open_study(study).series, pool, settings)
    return {"result.json": result_json(found), "maps.npz": maps_npz(found)}
