"""Going on from a sweep's first patches gives what one sweep gives, and computes no patch twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from pool.errors import SettingsError
from pool.moments import Moments
from pool.networks import NetworkSpec, build_network
from pool.patch_order import ScatteredPatches
from pool.patches import PatchBlock
from pool.sweep import Forward, SweepSettings, frames_on, maps_of, plain_forward, refine, sweep

SETTINGS = SweepSettings(patch_px=16, stride_px=2, mask_stride_px=16)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    network = build_network(NetworkSpec(width=4, n_poolings=2, n_frames=5), torch.Generator().manual_seed(3)).eval()
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def slice_frames() -> np.ndarray:
    return np.random.default_rng(1).random((5, 48, 48), dtype=np.float32)


def refined(forward: Forward, frames: np.ndarray, counts: Sequence[int], batch_size: int = 33) -> Moments:
    settings = SweepSettings(16, 2, 16, batch_size)
    moments: Moments | None = None
    for n_patches in counts:
        moments = refine(forward, frames_on("cpu", frames), settings, n_patches, moments)
    assert moments is not None
    return moments


@pytest.mark.parametrize("counts", [(9, 10, 30, 289), (9, 289), (40, 288, 289), (289,)])
@pytest.mark.parametrize("batch_size", [7, 33, 1000])
def test_refining_ends_where_one_sweep_does(
    network: nn.Module, slice_frames: np.ndarray, counts: Sequence[int], batch_size: int
) -> None:
    expected = sweep(network, slice_frames, SETTINGS)
    found = maps_of(refined(plain_forward(network), slice_frames, counts, batch_size))
    assert expected is not None
    assert np.abs(found.probability - expected.probability).max() < 1e-6
    assert np.abs(found.uncertainty - expected.uncertainty).max() < 1e-6
    assert found.u_tot == pytest.approx(expected.u_tot, rel=1e-6)
    assert found.n_myo == expected.n_myo


@pytest.mark.parametrize("counts", [(9,), (9, 20), (50,), (9, 50, 120)])
def test_every_patch_is_computed_once_and_the_maps_are_those_of_the_first_patches(
    network: nn.Module, slice_frames: np.ndarray, counts: Sequence[int]
) -> None:
    n_passes: list[int] = []

    def counting(piece: PatchBlock | ScatteredPatches, frames: torch.Tensor) -> torch.Tensor:
        n_passes.append(piece.n_patches)
        return plain_forward(network)(piece, frames)

    moments = refined(counting, slice_frames, counts)
    assert sum(n_passes) == counts[-1] == moments.patches.n_patches
    with torch.inference_mode():
        frames = torch.from_numpy(slice_frames)
        places = moments.patches.places
        patches = torch.stack([frames[:, row : row + 16, col : col + 16] for row, col in places])
        p = torch.softmax(network(patches), dim=1)[:, 1].numpy()
    on_slice = np.full((len(places), 48, 48), np.nan)
    for at, (row, col), values in zip(on_slice, places, p):
        at[row : row + 16, col : col + 16] = values
    assert maps_of(moments).uncertainty == pytest.approx(np.nanstd(on_slice, axis=0), abs=1e-5)
    full = sweep(network, slice_frames, SETTINGS)
    assert full is not None
    assert np.abs(moments.probability - full.probability).max() < 1e-6


def test_moments_to_go_on_from_are_left_as_they_are(network: nn.Module, slice_frames: np.ndarray) -> None:
    tensor = frames_on("cpu", slice_frames)
    start = refine(plain_forward(network), tensor, SETTINGS, 9)
    assert start is not None
    before = start.p_sum.copy()
    first, second = (refine(plain_forward(network), tensor, SETTINGS, 25, start) for _ in range(2))
    assert first is not None
    assert second is not None
    assert np.array_equal(start.p_sum, before)
    assert np.array_equal(first.p2_sum, second.p2_sum)
    assert refine(plain_forward(network), tensor, SETTINGS, 289, first, lambda: False) is None


def test_going_back_is_refused(network: nn.Module, slice_frames: np.ndarray) -> None:
    with pytest.raises(SettingsError, match="only from the first patches of the same sweep, at most 20; found 30 of"):
        refined(plain_forward(network), slice_frames, (30, 20))
