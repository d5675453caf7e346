"""Sums of overlapping patches by two dense sums: no loop over patches, no atomic operation, the same bytes every time.

Patches of one row lie in a buffer as wide as the image, zeros to the right of each. Read with rows that are shorter by
the stride, patch c appears moved to the right by c strides, and the zeros before it are the tail of what lies before it
in memory; so a sum over patches is a sum along one dimension of a view.
"""

from __future__ import annotations

import torch


def overlap_add(patches: torch.Tensor, stride_px: int) -> torch.Tensor:
    """Add patches where they lie: `... patch_row_index patch_col_index row col` to `... row col`, same dtype.

    Args:
        patches: evenly spaced along both axes.
        stride_px: from one to the next.
    """
    *lead, n_rows, n_cols, height_px, width_px = patches.shape
    out_height_px, out_width_px = ((n - 1) * stride_px + px for n, px in ((n_rows, height_px), (n_cols, width_px)))
    wide = patches.new_zeros(*lead, n_rows, n_cols, height_px, out_width_px)
    wide[..., :width_px] = patches
    size = n_rows * n_cols * height_px * out_width_px
    moved = wide.as_strided(
        (*wide.shape[: len(lead) + 1], height_px, out_width_px, n_cols),
        (
            *_strides(lead, size),
            n_cols * height_px * out_width_px,
            out_width_px,
            1,
            height_px * out_width_px - stride_px,
        ),
    )
    strips = moved.sum(-1)  # ... patch_row_index row out_col
    tall = strips.new_zeros(*lead, n_rows, out_height_px, out_width_px)
    tall[..., :height_px, :] = strips
    return tall.as_strided(
        (*lead, out_height_px, out_width_px, n_rows),
        (
            *_strides(lead, n_rows * out_height_px * out_width_px),
            out_width_px,
            1,
            (out_height_px - stride_px) * out_width_px,
        ),
    ).sum(-1)


def _strides(lead: list[int], size: int) -> list[int]:
    strides: list[int] = []
    for n in reversed(lead):
        strides.insert(0, size)
        size *= n
    return strides
