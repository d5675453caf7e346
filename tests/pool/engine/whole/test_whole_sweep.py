"""Whole slices at once against the plain sweep, on a processor; what only a GPU has is checked by `bench --study`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pool.engine.whole.overlap import overlap_add
from pool.engine.whole.sweep import WholeSettings, WholeSweep, padded_weights
from pool.networks import NetworkSpec
from pool.networks.unet import UNet
from pool.patches import PatchGrid
from pool.sweep import SweepSettings, plain_forward, refine
from tests.pool.engine.networks import lively_network, random_slice


def unet(spec: NetworkSpec, seed: int) -> UNet:
    network = lively_network(spec, seed)
    assert isinstance(network, UNet)
    return network


def test_patches_are_added_where_they_lie() -> None:
    patches = torch.rand(2, 3, 4, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 10, 10, dtype=torch.float64)
    for row in range(3):
        for col in range(4):
            expected[:, 2 * row : 2 * row + 6, 2 * col : 2 * col + 4] += patches[:, row, col]
    assert (overlap_add(patches, 2) - expected).abs().max() < 1e-14
    every_second = torch.arange(12).reshape(3, 4) % 2 == 0
    weights = torch.stack([every_second, ~every_second], -1).double()
    found = overlap_add(patches, 2, weights)
    alone = overlap_add(patches * every_second[:, :, None, None], 2)
    assert (found[..., 0] - alone).abs().max() < 1e-14
    assert (found.sum(-1) - expected).abs().max() < 1e-14


@pytest.mark.parametrize("sharing", [True, False])
@pytest.mark.parametrize(
    ("n_poolings", "n_frames", "grid", "mask_stride_px"),
    [
        (2, 5, PatchGrid(44, 32, 2), 4),
        (3, 8, PatchGrid(48, 32, 4), 16),
        (1, 5, PatchGrid(24, 16, 2), 8),
        (2, 5, PatchGrid(20, 12, 1), 4),
        (2, 5, PatchGrid(20, 8, 2), 4),
    ],
)
def test_the_sums_are_those_of_the_plain_sweep(
    sharing: bool, n_poolings: int, n_frames: int, grid: PatchGrid, mask_stride_px: int
) -> None:
    spec = NetworkSpec(width=4, n_poolings=n_poolings, n_frames=n_frames)
    networks = [unet(spec, seed) for seed in (0, 1)]
    slices = [random_slice(n_frames, grid.image_px, seed) for seed in (1, 2, 3)]
    settings = WholeSettings(sharing=sharing)
    whole = WholeSweep(networks[0], len(slices), grid, mask_stride_px, settings)
    whole.take(slices)
    plain = SweepSettings(grid.patch_px, grid.stride_px, mask_stride_px)
    n_mask = PatchGrid(grid.image_px, grid.patch_px, mask_stride_px).coverage()
    for network in networks:
        whole.run(padded_weights(network, settings))
        for i, frames in enumerate(slices):
            expected = refine(plain_forward(network), frames, plain)
            assert expected is not None
            for found, of_plain in zip(whole.sums[0, i].numpy(), (expected.p_sum, expected.p2_sum)):
                assert np.abs(found - of_plain).max() < 1e-5 * grid.coverage().max()
            assert np.abs(whole.class_sums[i].numpy() / n_mask - expected.probability).max() < 1e-5


def whole_sums(batch_size: int | None) -> torch.Tensor:
    spec = NetworkSpec(width=4, n_poolings=2, n_frames=5)
    whole = WholeSweep(unet(spec, 0), 1, PatchGrid(44, 32, 2), 4, WholeSettings(batch_size=batch_size))
    whole.take([random_slice(5, 44)])
    whole.run(padded_weights(unet(spec, 1), whole.settings))
    return whole.sums / whole.grid.n_patches


@pytest.mark.parametrize("batch_size", [1, 15, 1000])
def test_sums_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    assert (whole_sums(batch_size) - whole_sums(None)).abs().max() < 1e-6


def test_a_batch_that_memory_does_not_hold_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, tried = whole_sums(7), []
    finish = WholeSweep._step

    def step(self: WholeSweep) -> None:
        tried.append(self._rows_at_once)
        if self._rows_at_once > 2:
            self.sums += 1.0  # what a failed step leaves behind does not count
            raise torch.OutOfMemoryError("simulated")
        finish(self)

    monkeypatch.setattr(WholeSweep, "_step", step)
    assert (whole_sums(1000) - reference).abs().max() < 1e-6
    assert tried == [7, 3, 1]

    def never(self: WholeSweep) -> None:
        raise torch.OutOfMemoryError("simulated")

    monkeypatch.setattr(WholeSweep, "_step", never)
    with pytest.raises(torch.OutOfMemoryError):
        whole_sums(1000)


def test_groups_of_patches_are_summed_apart() -> None:
    spec, grid = NetworkSpec(width=4, n_poolings=2, n_frames=5), PatchGrid(44, 32, 2)
    groups = torch.arange(49).reshape(7, 7) % 3
    whole = WholeSweep(unet(spec, 0), 2, grid, 4, groups=groups)
    together = WholeSweep(unet(spec, 0), 2, grid, 4)
    for item in (whole, together):
        item.take([random_slice(5, 44, 1), random_slice(5, 44, 2)])
        item.run(padded_weights(unet(spec, 1), item.settings))
    assert whole.sums.shape == (3, 2, 2, 44, 44)
    assert whole.sums[1].max() > 1.0
    assert (whole.sums.sum(0) - together.sums[0]).abs().max() < 1e-10
