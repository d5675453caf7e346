"""Fits as flows of segments and maps of slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pool.perfusion.failures import REASONS
from pool.perfusion.fermi_fit import FermiFit
from pool.perfusion.regions import SliceRegions
from pool.perfusion.results import SegmentFlow, SliceFlow
from pool.perfusion.segments import SEGMENT_NAMES, Orientation
from pool.perfusion.tissue_curves import SliceSignals
from pool.shapes import Mask

DECIMALS = 4
"""Of flows in results: far finer than they are known, and the last bits, which depend on threads, are gone."""


@dataclass(frozen=True, eq=False)
class OutlinedSlice:
    """One slice with one outline."""

    index: int
    """Number of the slice in the series."""
    regions: SliceRegions
    segment: np.ndarray
    """AHA segment of every pixel, uint8 `row col`."""
    averaged: Mask
    """Pixels that segments' curves are means of."""
    signals: SliceSignals

    @property
    def numbers(self) -> list[int]:
        """Segments that the slice holds."""
        return [int(n) for n in np.unique(self.segment) if n > 0]


def _rounded(value: torch.Tensor | float) -> float:
    return round(float(value), DECIMALS)


def segment_flow(
    item: OutlinedSlice,
    number: int,
    mbf_ml_min_g: float,
    fit: FermiFit,
    codes: torch.Tensor,
    model_free: torch.Tensor,
    k: int,
    rivals: tuple[float, ...],
) -> SegmentFlow:
    """A segment with its flow, the k-th fitted curve beside it, and the flows of runners-up."""
    code = int(codes[k])
    return SegmentFlow(
        number=number,
        name=SEGMENT_NAMES[number],
        slice_name=item.regions.name,
        n_px=int((item.averaged & (item.segment == number)).sum()),
        mbf_ml_min_g=None if code else _rounded(mbf_ml_min_g),
        standard_error=None if code else _rounded(fit.standard_error[k]),
        r_squared=_rounded(fit.r_squared[k]),
        delay_s=None if code else _rounded(fit.delay_s[k]),
        mbf_model_free=None if code else _rounded(model_free[k]),
        failure=REASONS[code],
        mbf_runners_up=() if code else tuple(map(_rounded, rivals)),
    )


def slice_flows(
    jobs: Sequence[OutlinedSlice], turned: Mapping[int, Orientation], fit: FermiFit, codes: np.ndarray
) -> tuple[SliceFlow, ...]:
    """Fits of all pixels, slice after slice, as maps."""
    flows, start = [], 0
    for item in jobs:
        mask = item.regions.myocardium
        here = slice(start, start := start + int(mask.sum()))
        good = codes[here] == 0
        maps = []
        for values in (fit.mbf_ml_min_g, fit.standard_error):
            filled = np.full(mask.shape, np.nan, dtype=np.float32)
            filled[mask] = np.where(good, np.round(values[here].numpy(), DECIMALS), np.nan)
            maps.append(filled)
        failed = np.zeros(mask.shape, dtype=bool)
        failed[mask] = ~good
        turn = turned[item.index]
        flows.append(
            SliceFlow(
                name=item.regions.name,
                level=item.regions.level,
                mbf=maps[0],
                standard_error=maps[1],
                failed=failed,
                segment=item.segment,
                averaged=item.averaged,
                septum_deg=turn.septum_deg,
                insertion_px=turn.insertion_px,
                orientation_from=turn.source,
            )
        )
    return tuple(flows)
