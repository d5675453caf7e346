"""Small studies and pools that tests of several rooms share. Nothing here uses the phantom or a trained network."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from pool.manifest import MemberEntry, PoolManifest, save_manifest
from pool.networks import NetworkSpec, build_network
from pool.series import PerfusionSeries, names_of_slices
from pool.weights import save_weights

SHIPPED_POOL = Path(__file__).parents[1] / "pool" / "pretrained"
TINY = NetworkSpec(width=4, n_poolings=2)


def bolus_frames(
    shape: tuple[int, int] = (96, 80),
    centre: tuple[float, float] = (50.0, 42.0),
    spacing_mm: float = 1.9,
    n_frames: int = 40,
    seed: int = 0,
) -> np.ndarray:
    """A disc (LV) with a ring (wall) and a crescent (RV) that enhance one after the other: float32 `time row col`."""
    rows, cols = np.indices(shape)
    distance = np.hypot(rows - centre[0], cols - centre[1]) * spacing_mm
    rv_distance = np.hypot(rows - centre[0], cols - centre[1] + 38 / spacing_mm) * spacing_mm
    time = np.linspace(0, 1, n_frames)[:, None, None]

    def curve(peak: float, width: float) -> np.ndarray:
        return np.exp(-(((time - peak) / width) ** 2))

    frames = 20.0 + 8.0 * np.random.default_rng(seed).random((n_frames, *shape))
    frames += 200 * curve(0.2, 0.1) * ((rv_distance < 20) & (distance > 34))
    frames += 180 * curve(0.45, 0.12) * (distance < 22)
    frames += 70 * curve(0.6, 0.2) * ((distance >= 22) & (distance < 32))
    return frames.astype(np.float32)


def bolus_series(n_slices: int = 1, n_frames: int = 40, spacing_mm: float = 1.9) -> PerfusionSeries:
    """A study of `n_slices` such slices, one frame a second."""
    frames = np.stack([bolus_frames(n_frames=n_frames, spacing_mm=spacing_mm, seed=i) for i in range(n_slices)])
    times = np.tile(np.arange(n_frames, dtype=np.float64), (n_slices, 1))
    return PerfusionSeries(frames, times, (spacing_mm, spacing_mm), names_of_slices(n_slices))


def write_npz(path: Path, series: PerfusionSeries) -> Path:
    """The series as the `.npz` that `pool.inputs` reads."""
    np.savez(path, frames=series.frames, times_s=series.times_s, pixel_spacing_mm=np.array(series.pixel_spacing_mm))
    return path


def tiny_pool(folder: Path, n_members: int = 3, spec: NetworkSpec = TINY) -> PoolManifest:
    """A pool of untrained width-4 networks whose masks are not empty: the last bias favours myocardium a little."""
    entries = []
    for i in range(n_members):
        network = build_network(spec, torch.Generator().manual_seed(i))
        with torch.no_grad():
            network.classify.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
        member_id = f"s{i}-e01"
        sha256 = save_weights(folder, member_id, network.state_dict())
        entries.append(MemberEntry(member_id, i, 1, round(0.5 + 0.1 * i, 3), spec, sha256))
    manifest = PoolManifest("tiny", tuple(entries), {"data": "none"})
    save_manifest(folder, manifest)
    return manifest


def few_shipped_members(folder: Path, n_members: int = 2) -> PoolManifest:
    """A pool of the first members of the one that ships, for tests whose outlines must be those of hearts."""
    shipped = PoolManifest.load(SHIPPED_POOL)
    manifest = PoolManifest("few", shipped.members[:n_members], {"data": "the shipped pool's"})
    folder.mkdir(parents=True, exist_ok=True)
    for entry in manifest.members:
        shutil.copy(SHIPPED_POOL / entry.weights_name, folder)
    save_manifest(folder, manifest)
    return manifest
