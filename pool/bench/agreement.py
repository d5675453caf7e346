"""Whether every way to sweep on a device gives the plain float32 sweep's maps: what tests cannot ask without a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pool.bench.study import largest_differences
from pool.engine.settings import DTYPES
from pool.engine.whole.sweep import WholeSettings
from pool.shapes import SliceFrames
from pool.sweep import MemberMaps, SweepSettings, frames_on, maps_of, plain_forward, refine
from pool.together import SweptTogether


@dataclass(frozen=True)
class Agreement:
    """One way against the plain sweep in float32 on the same device."""

    settings: WholeSettings
    how: str
    u_map: float
    """Largest difference of a U-map."""
    probability: float
    """Largest difference of a mean probability."""
    u_pp_share: float
    """Largest difference of U_pp, as a share."""
    same_choice: int
    """Slices on which the same network has the least U_pp."""
    n_slices: int
    same_bytes: bool
    """Whether a second run gave the same bytes."""

    def in_words(self) -> str:
        """One line."""
        return (
            f"U-map {self.u_map:.1e}, probability {self.probability:.1e}, U_pp {self.u_pp_share:.2%}, same choice "
            f"{self.same_choice} of {self.n_slices}, {'same bytes again' if self.same_bytes else 'OTHER BYTES AGAIN'}: "
            f"{self.how}"
        )


def check_agreement(networks: Sequence[nn.Module], slices: Sequence[SliceFrames]) -> Iterator[Agreement | str]:
    """Every dtype, with and without sharing, fused convolutions and graph, and in small batches; a failure in words.

    Args:
        networks: of one size, on their device.
        slices: prepared.
    """
    device, sweep = next(networks[0].parameters()).device, SweepSettings()
    expected: list[list[MemberMaps]] = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        for network in networks:
            forward = plain_forward(network)
            moments = [refine(forward, frames_on(device, frames), sweep) for frames in slices]
            expected.append([maps_of(item) for item in moments if item is not None])
    ways = [WholeSettings(dtype) for dtype in DTYPES]
    ways += [WholeSettings(dtype, sharing=False) for dtype in DTYPES]
    ways += [WholeSettings(fused=False), WholeSettings(graph=False), WholeSettings(batch_size=99)]
    for way in ways:
        try:
            yield _compared(networks, slices, way, expected)
        except RuntimeError as error:  # the other ways are still worth knowing
            yield f"FAILED {type(error).__name__}: {str(error).splitlines()[0][:200]}: {way}"


def _compared(
    networks: Sequence[nn.Module],
    slices: Sequence[SliceFrames],
    settings: WholeSettings,
    expected: Sequence[Sequence[MemberMaps]],
) -> Agreement:
    together = SweptTogether(networks, SweepSettings(), slices[0].shape[1], settings, len(slices))
    found, again = together(slices), together(slices)
    pairs = [pair for of_member in zip(found, expected, strict=True) for pair in zip(*of_member, strict=True)]
    repeats = [pair for of_member in zip(found, again, strict=True) for pair in zip(*of_member, strict=True)]
    u_map, probability, u_pp = (max(values) for values in zip(*(largest_differences(*pair) for pair in pairs)))
    same_bytes = all(
        np.array_equal(one.uncertainty, other.uncertainty) and np.array_equal(one.probability, other.probability)
        for one, other in repeats
    )
    same_choice = sum(_choice(found, i) == _choice(expected, i) for i in range(len(slices)))
    return Agreement(settings, together.sweep.whole.how, u_map, probability, u_pp, same_choice, len(slices), same_bytes)


def _choice(maps: Sequence[Sequence[MemberMaps]], slice_number: int) -> int | None:
    u_pp = {i: of_member[slice_number].u_pp for i, of_member in enumerate(maps)}
    known = {i: value for i, value in u_pp.items() if value is not None}
    return min(known, key=known.__getitem__, default=None)
