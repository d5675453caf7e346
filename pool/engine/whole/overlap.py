"""Sums of overlapping patches by two dense sums: no loop over patches, no atomic operation, the same bytes every time.

Patches of one row lie in a buffer as wide as the image, zeros to the right of each. Read with rows that are shorter by
the stride, patch c appears moved to the right by c strides, and the zeros before it are the tail of what lies before it
in memory; so a sum over patches is a sum along one dimension of a view.
"""

from __future__ import annotations

import torch


def overlap_add(patches: torch.Tensor, stride_px: int, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Add patches where they lie: `... patch_row_index patch_col_index row col` to `... row col`, same dtype.

    Args:
        patches: evenly spaced along both axes.
        stride_px: from one to the next.
        weights: of every patch in each of several sums, `patch_row_index patch_col_index sum`; the result is then
            `... row col sum`.
    """
    *lead, n_rows, n_cols, height_px, width_px = patches.shape
    out_height_px, out_width_px = ((n - 1) * stride_px + px for n, px in ((n_rows, height_px), (n_cols, width_px)))
    wide = patches.new_zeros(*lead, n_rows, n_cols, height_px, out_width_px)
    wide[..., :width_px] = patches
    of_patch = height_px * out_width_px
    moved = wide.as_strided(
        (*lead, n_rows, height_px, out_width_px, n_cols),
        (*_strides([*lead, n_rows], n_cols * of_patch), out_width_px, 1, of_patch - stride_px),
    )
    # ... patch_row_index row out_col sum
    strips = moved.sum(-1, keepdim=True) if weights is None else torch.matmul(moved, weights[:, None])
    n_sums = strips.shape[-1]
    tall = strips.new_zeros(*lead, n_rows, out_height_px, out_width_px, n_sums)
    tall[..., :height_px, :, :] = strips
    of_row = out_width_px * n_sums
    of_strip = out_height_px * of_row
    sums = tall.as_strided(
        (*lead, out_height_px, of_row, n_rows),
        (*_strides(lead, n_rows * of_strip), of_row, 1, of_strip - stride_px * of_row),
    ).sum(-1)
    return sums if weights is None else sums.unflatten(-1, (out_width_px, n_sums))


def _strides(shape: list[int], size: int) -> list[int]:
    """Of contiguous items of a size."""
    strides: list[int] = []
    for n in reversed(shape):
        strides.insert(0, size)
        size *= n
    return strides
