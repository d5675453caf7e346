import numpy as np
import pytest
import torch

from pool.errors import SettingsError
from pool.patches import PatchBlock, PatchGrid


def test_coverage_of_a_six_by_six_image_worked_out_by_hand() -> None:
    along_axis = [1, 1, 2, 2, 1, 1]  # patches of 4 at 0 and 2
    assert PatchGrid(6, 4, 2).coverage().tolist() == np.outer(along_axis, along_axis).tolist()


def test_the_papers_grids() -> None:
    fine, coarse = PatchGrid(128, 64, 2), PatchGrid(128, 64, 16)
    assert (fine.n_patches, coarse.n_patches) == (1089, 25)
    assert fine.contains(coarse)
    assert not coarse.contains(fine)
    assert fine.coverage().max() == 32 * 32
    assert fine.coverage()[0, 0] == fine.coverage()[-1, -1] == 1


@pytest.mark.parametrize(("image", "patch", "stride"), [(128, 64, 2), (128, 32, 8), (10, 4, 3), (7, 7, 1), (9, 3, 3)])
def test_every_pixel_is_covered_and_all_patches_count(image: int, patch: int, stride: int) -> None:
    grid = PatchGrid(image, patch, stride)
    assert grid.coverage().min() >= 1
    assert grid.coverage().sum() == grid.n_patches * patch**2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((128, 64, 3), "stride_px must divide 128 - 64, or the last pixels stay uncovered; found 3"),
        ((128, 129, 1), "patch_px must be from 1 to 128; found 129"),
        ((128, 64, 0), "stride_px must be from 1 to the patch size 64; found 0"),
        ((128, 16, 28), "stride_px must be from 1 to the patch size 16; found 28"),
    ],
)
def test_grids_that_leave_gaps_are_refused(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        PatchGrid(*sizes)


def test_a_row_of_patches_is_a_view_of_the_frames() -> None:
    frames = torch.arange(2 * 6 * 6, dtype=torch.float32).reshape(2, 6, 6)
    grid = PatchGrid(6, 4, 2)
    patches = PatchBlock(grid, (2,), (0, 2)).patches(frames)
    assert patches.shape == (2, 2, 4, 4)
    assert torch.equal(patches[1], frames[:, 2:6, 2:6])
    frames[0, 2, 2] = -1.0
    assert patches[0, 0, 0, 2] == -1.0
    assert patches[1, 0, 0, 0] == -1.0


def test_patches_of_a_block_come_row_by_row_evenly_spaced_or_not() -> None:
    frames = torch.rand(2, 10, 10, generator=torch.Generator().manual_seed(0))
    block = PatchBlock(PatchGrid(10, 4, 1), (0, 5), (0, 1, 5))
    patches = block.patches(frames)
    at = [(row, col) for row in (0, 5) for col in (0, 1, 5)]
    assert torch.equal(patches, torch.stack([frames[:, r : r + 4, c : c + 4] for r, c in at]))
    assert patches.is_contiguous(memory_format=torch.channels_last)


def test_folding_sums_what_overlaps() -> None:
    grid = PatchGrid(6, 4, 2)
    values = torch.stack([torch.full((1, 4, 4), 1.0), torch.full((1, 4, 4), 10.0)]).double()
    assert PatchBlock(grid, (0,), (0, 2)).fold(values)[0, 0, 0].tolist() == [1, 1, 11, 11, 10, 10]
    assert PatchBlock(grid, (0, 2), (2,)).fold(values)[:, 0, 0].tolist() == [[0, 0] + [1] * 4, [0, 0] + [10] * 4]
    uneven = PatchBlock(PatchGrid(8, 4, 1), (0,), (0, 1, 3))
    thrice = torch.cat([values, torch.full((1, 1, 4, 4), 100.0).double()])
    assert uneven.fold(thrice)[0, 0, 0].tolist() == [1, 11, 11, 111, 110, 100, 100, 0]


@pytest.mark.parametrize(("most", "sizes"), [(1, [5] * 7), (5, [5] * 7), (14, [5, 10, 10, 10]), (1000, [35])])
def test_a_block_is_cut_between_rows_into_even_parts(most: int, sizes: list[int]) -> None:
    block = PatchBlock(PatchGrid(20, 4, 1), tuple(range(7)), tuple(range(5)))
    parts = list(block.in_parts(most))
    assert [part.n_patches for part in parts] == sizes
    assert sum((part.rows_px for part in parts), ()) == block.rows_px
