"""Whether a faster data type changes the answer: U_pp and the chosen member, both ways, over phantom slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import nn

from pool.member import Pool
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices
from pool.shapes import FramesTensor
from pool.sweep import MemberMaps, SweepSettings, engine_forward, frames_on, maps_of, refine

PRESETS = ("exD-1", "exD-2")
"""Scanners other than the one a pool was trained for, in turn."""


@dataclass(frozen=True)
class OtherChoice:
    """A slice on which another member is chosen."""

    slice_number: int
    reference: str | None
    """Chosen in float32; None where all masks are empty."""
    chosen: str | None
    u_pp_excess: float | None
    """By how much the float32 U_pp of `chosen` is greater than that of `reference`, as a share."""


@dataclass(frozen=True)
class DtypeReport:
    """The two data types compared."""

    dtype: str
    n_slices: int
    n_members: int
    stride_px: int
    largest_u_pp_change: float
    """Largest change of a member's U_pp, as a share of the float32 one."""
    n_masks_emptied_or_filled: int
    """Members with a mask one way and none the other."""
    other_choices: tuple[OtherChoice, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)

    def in_words(self) -> str:
        """The report as lines."""
        lines = [
            f"{self.dtype} against float32, {self.n_members} members, {self.n_slices} phantom slices, stride "
            f"{self.stride_px}: largest change of U_pp {self.largest_u_pp_change:.3%}, another member chosen on "
            f"{len(self.other_choices)} slices, masks emptied or filled {self.n_masks_emptied_or_filled}"
        ]
        for case in self.other_choices:
            excess = "" if case.u_pp_excess is None else f", U_pp {case.u_pp_excess:.3%} greater"
            lines.append(f"slice {case.slice_number}: {case.chosen} instead of {case.reference}{excess}")
        return "\n".join(lines)


def compare_dtypes(
    pool: Pool,
    dtype: str,
    n_slices: int,
    stride_px: int = 2,
    on_progress: Callable[[int, int], None] | None = None,
) -> DtypeReport:
    """Sweep shifted phantom slices with every member in float32 and in another data type; select by least U_pp.

    Args:
        pool: the members.
        dtype: to compare, see `EngineSettings`.
        n_slices: phantom slices of other scanners than the training's.
        stride_px: of the U-map; 2 is the paper's, 8 is 13 times faster.
        on_progress: called with (slices done, slices in total).
    """
    of_reference = SweepSettings(stride_px=stride_px)
    device = next(pool.members[0].network.parameters()).device
    change, n_emptied = 0.0, 0
    cases: list[OtherChoice] = []
    for number, frames in enumerate(_shifted_slices(n_slices)):
        tensor = frames_on(device, frames.numpy())
        reference: dict[str, float] = {}
        other: dict[str, float] = {}
        for member in pool.members:
            for found, settings in ((reference, of_reference), (other, replace(of_reference, dtype=dtype))):
                u_pp = _swept(member.network, tensor, settings).u_pp
                if u_pp is not None:
                    found[member.entry.id] = u_pp
        common = reference.keys() & other.keys()
        n_emptied += len(reference.keys() ^ other.keys())
        change = max([change, *(abs(other[i] - reference[i]) / max(reference[i], 1e-12) for i in common)])
        expected, chosen = (min(sorted(found), key=found.__getitem__, default=None) for found in (reference, other))
        if chosen != expected:
            known = expected is not None and chosen in reference
            excess = reference[chosen or ""] / reference[expected or ""] - 1 if known else None
            cases.append(OtherChoice(number, expected, chosen, excess))
        if on_progress is not None:
            on_progress(number + 1, n_slices)
    return DtypeReport(dtype, n_slices, len(pool.members), stride_px, change, n_emptied, tuple(cases))


def _swept(network: nn.Module, frames: FramesTensor, settings: SweepSettings) -> MemberMaps:
    moments = refine(engine_forward(network, settings), frames, settings)
    assert moments is not None  # nothing stops it
    return maps_of(moments)


def _shifted_slices(n_slices: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    per_preset = [
        make_labelled_slices(get_preset(name), (n_slices + 1) // len(PRESETS), generator).frames for name in PRESETS
    ]
    return [frames for pair in zip(*per_preset) for frames in pair][:n_slices]
