"""Refining a coarse grid gives what one sweep of the fine grid gives, and computes no patch twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import nn

from pool.errors import SettingsError
from pool.moments import Moments, MomentSums
from pool.networks import NetworkSpec, build_network
from pool.patches import PatchBlock, PatchGrid
from pool.sweep import Forward, SweepSettings, frames_on, maps_of, plain_forward, refine, sweep

SETTINGS = SweepSettings(patch_px=16, stride_px=2, mask_stride_px=16)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    network = build_network(NetworkSpec(width=4, n_poolings=2, n_frames=5), torch.Generator().manual_seed(3)).eval()
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def slice_frames() -> np.ndarray:
    return np.random.default_rng(1).random((5, 48, 48), dtype=np.float32)


def refined(forward: Forward, frames: np.ndarray, strides: Sequence[int], batch_size: int = 33) -> Moments:
    settings = SweepSettings(16, 2, 16, batch_size)
    moments: Moments | None = None
    for stride_px in strides:
        moments = refine(forward, frames_on("cpu", frames), settings, stride_px, moments)
    assert moments is not None
    return moments


@pytest.mark.parametrize("strides", [(16, 8, 4, 2), (16, 2), (8, 2), (2,)])
@pytest.mark.parametrize("batch_size", [7, 33, 1000])
def test_refining_ends_where_one_sweep_does(
    network: nn.Module, slice_frames: np.ndarray, strides: Sequence[int], batch_size: int
) -> None:
    expected = sweep(network, slice_frames, SETTINGS)
    found = maps_of(refined(plain_forward(network), slice_frames, strides, batch_size))
    assert expected is not None
    assert np.abs(found.probability - expected.probability).max() < 1e-6
    assert np.abs(found.uncertainty - expected.uncertainty).max() < 1e-6
    assert found.u_tot == pytest.approx(expected.u_tot, rel=1e-6)
    assert found.n_myo == expected.n_myo


def test_every_patch_is_computed_once_and_each_step_is_a_sweep_of_its_grid(
    network: nn.Module, slice_frames: np.ndarray
) -> None:
    n_passes: list[int] = []

    def counting(block: PatchBlock, frames: torch.Tensor) -> torch.Tensor:
        n_passes.append(block.n_patches)
        return plain_forward(network)(block, frames)

    for n_levels, n_patches in ((1, 9), (2, 25), (3, 81), (4, 289)):
        n_passes.clear()
        moments = refined(counting, slice_frames, (16, 8, 4, 2)[:n_levels])
        assert sum(n_passes) == n_patches
        level = sweep(network, slice_frames, SweepSettings(16, moments.grid.stride_px, 16))
        assert level is not None
        assert maps_of(moments).u_tot == pytest.approx(level.u_tot, rel=1e-6)


def test_moments_to_go_on_from_are_left_as_they_are(network: nn.Module, slice_frames: np.ndarray) -> None:
    tensor = frames_on("cpu", slice_frames)
    start = refine(plain_forward(network), tensor, SETTINGS, 16)
    assert start is not None
    before = start.p_sum.copy()
    first, second = (refine(plain_forward(network), tensor, SETTINGS, 8, start) for _ in range(2))
    assert first is not None
    assert second is not None
    assert np.array_equal(start.p_sum, before)
    assert np.array_equal(first.p2_sum, second.p2_sum)
    assert refine(plain_forward(network), tensor, SETTINGS, 2, first, lambda: False) is None


def test_a_grid_that_knows_no_mask_or_skips_patches_is_refused(network: nn.Module, slice_frames: np.ndarray) -> None:
    with pytest.raises(SettingsError, match="its grid must contain the mask grid of stride 8; found 16"):
        MomentSums(PatchGrid(48, 16, 16), PatchGrid(48, 16, 8), torch.device("cpu"))
    with pytest.raises(SettingsError, match="stride_px 8 must divide the stride of the patches to leave out; found 2"):
        refined(plain_forward(network), slice_frames, (2, 8))
