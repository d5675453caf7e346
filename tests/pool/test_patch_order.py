"""The order of a sweep's patches: complete, nested, and even at every beginning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pool.errors import SettingsError
from pool.patch_order import FirstPatches, ScatteredPatches, patch_order
from pool.patches import PatchBlock, PatchGrid

GRID = PatchGrid()


@pytest.mark.parametrize(("grid", "mask_stride_px"), [(GRID, 16), (PatchGrid(16, 8, 1), 4), (PatchGrid(128, 64, 8), 8)])
def test_every_patch_comes_once_the_masks_first(grid: PatchGrid, mask_stride_px: int) -> None:
    order = patch_order(grid, mask_stride_px)
    assert sorted(order) == [(row, col) for row in grid.offsets_px for col in grid.offsets_px]
    of_mask = [(row, col) for row in grid.offsets_px for col in grid.offsets_px if not (row | col) % mask_stride_px]
    assert list(order[: len(of_mask)]) == of_mask


@pytest.mark.parametrize("n_patches", [100, 200, 289])
def test_the_patches_after_the_masks_are_spread_more_evenly_than_by_chance(n_patches: int) -> None:
    def unevenness(places: np.ndarray) -> float:
        """Largest difference between the share of patches up to a corner and the share of corners up to it."""
        offsets = np.array(GRID.offsets_px)
        below = (places[:, 0, None] <= offsets)[:, :, None] & (places[:, 1, None] <= offsets)[:, None, :]
        share = (np.arange(len(offsets)) + 1) / len(offsets)
        return float(np.abs(below.mean(0) - np.outer(share, share)).max())

    rest = np.array(patch_order(GRID, 16)[25:n_patches])
    rng, every = np.random.default_rng(0), np.array(patch_order(GRID, 16)[25:])
    chance = [unevenness(rng.choice(every, len(rest), replace=False)) for _ in range(20)]
    assert unevenness(rest) < 0.75 * np.median(chance)
    phases = {(row % 8, col % 8) for row, col in rest.tolist()}
    assert len(phases) >= min(12, len(rest) // 2)  # a coarse grid has one


def test_a_sweeps_beginnings_are_nested_and_together_all() -> None:
    before, covered = None, np.zeros((128, 128), dtype=int)
    for n_patches in (25, 41, 289, 1089):
        first = FirstPatches(GRID, 16, n_patches)
        pieces = first.missing(before)
        assert sum(piece.n_patches for piece in pieces) == n_patches - (before.n_patches if before else 0)
        for piece in pieces:
            for row, cols in piece.rows:
                for col in cols:
                    covered[row : row + 64, col : col + 64] += 1
        assert np.array_equal(covered, first.coverage())
        before = first
    assert before is not None
    assert before.missing(before) == ()
    assert [type(piece) for piece in FirstPatches(GRID, 16, 1089).missing()] == [PatchBlock]
    assert [type(piece) for piece in FirstPatches(GRID, 16, 41).missing()] == [PatchBlock, ScatteredPatches]


def test_scattered_patches_add_up_where_they_lie() -> None:
    scattered = ScatteredPatches(PatchGrid(6, 4, 1), ((0, 0), (0, 1), (2, 2)))
    values = torch.tensor([1.0, 10.0, 100.0]).double()[:, None, None, None].expand(3, 2, 4, 4)
    sums = torch.ones(2, 6, 6).double()
    scattered.add_to(sums, values)
    assert sums[1].tolist() == [
        [2, 12, 12, 12, 11, 1],
        [2, 12, 12, 12, 11, 1],
        [2, 12, 112, 112, 111, 101],
        [2, 12, 112, 112, 111, 101],
        [1, 1, 101, 101, 101, 101],
        [1, 1, 101, 101, 101, 101],
    ]


def test_scattered_patches_are_cut_between_rows() -> None:
    places = ((0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 2))
    parts = list(ScatteredPatches(PatchGrid(6, 4, 1), places).in_parts(3))
    assert [part.places for part in parts] == [places[:2], places[2:5], places[5:]]
    frames = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0))
    patches = parts[1].patches(frames)
    assert torch.equal(patches, torch.stack([frames[:, 1:5, col : col + 4] for col in (0, 1, 2)]))
    assert patches.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("mask_stride_px", "n_patches", "message"),
    [
        (16, 24, "its first patches are from the mask's 25 to 1089; found 24"),
        (16, 1090, "its first patches are from the mask's 25 to 1089; found 1090"),
        (1, 1089, "mask_stride_px must be a multiple of stride_px 2; found 1"),
    ],
)
def test_what_is_no_beginning_of_a_sweep_is_refused(mask_stride_px: int, n_patches: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        FirstPatches(GRID, mask_stride_px, n_patches)
