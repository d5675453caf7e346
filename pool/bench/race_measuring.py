"""Sweeps of many slices by all members in several data types, kept as `RaceMeasures`.

On GPUs whole slices go at once (`pool.engine.whole`), on processors row by row through the engine. Finished batches are
kept in a folder, so that a run that was cut off goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pool.engine.whole.sweep import WholeSettings, WholeSweep, padded_weights
from pool.errors import SettingsError
from pool.member import Pool
from pool.networks.unet import UNet
from pool.patch_order import FirstPatches, patch_order
from pool.patches import PatchGrid
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices
from pool.race_measures import RaceMeasures
from pool.shapes import MYOCARDIUM, SliceFrames
from pool.strays import without_strays
from pool.sweep import MASK_THRESHOLD, SweepSettings, engine_forward, frames_on
from pool.together import u_map

PREFIXES = (25, 33, 41, 49, 57, 73, 89, 105, 129, 153, 185, 217, 289, 361, 433, 577, 1089)
"""First patches after which U_pp is noted, see `pool.patch_order`."""
PRESETS = ("exD-1", "exD-2", "inD")
"""Scanners, in turn, three slices of a heart at a time."""
SEED = 2026
SLICES_PER_HEART = 3

NamedSlice = tuple[str, SliceFrames]
Measured = tuple[torch.Tensor, torch.Tensor]
"""U_tot `prefix slice`, and where the mean probability reaches the mask's threshold, `slice row col`."""


def shifted_slices(n_slices: int) -> list[NamedSlice]:
    """Phantom slices of several scanners by name: always the same ones."""
    slices: list[NamedSlice] = []
    for heart in range(-(-n_slices // SLICES_PER_HEART)):
        name = PRESETS[heart % len(PRESETS)]
        generator = torch.Generator().manual_seed(SEED + heart)
        frames = make_labelled_slices(get_preset(name), SLICES_PER_HEART, generator).frames.numpy()
        slices += [(f"{name}-{heart}-{level}", frames[level]) for level in range(SLICES_PER_HEART)]
    return slices[:n_slices]


def measure_races(
    pool: Pool,
    slices: Sequence[NamedSlice],
    dtypes: Sequence[str],
    sweep: SweepSettings | None = None,
    prefixes: Sequence[int] = PREFIXES,
    slices_at_once: int = SLICES_PER_HEART,
    keep: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> RaceMeasures:
    """Sweep all slices with all members in every data type.

    Args:
        pool: U-Nets of one size, on their device.
        slices: names and prepared slices of one size.
        dtypes: see `EngineSettings`; the first is the reference.
        sweep: of a full sweep; its dtype does not count.
        prefixes: numbers of first patches, rising; the full sweep is added.
        slices_at_once: in one batch.
        keep: folder of finished batches, by what they are of; None keeps none.
        on_progress: called with (slices done, slices in total).

    Raises:
        SettingsError: networks of several kinds or sizes, or prefixes that are not those of the sweep.
    """
    sweep = sweep or SweepSettings()
    networks = [member.network for member in pool.of_patches if type(member.network) is UNet]
    if len(networks) < len(pool.of_patches) or len({member.entry.network for member in pool.of_patches}) > 1:
        raise SettingsError("race check", "takes U-Nets of one size", "a pool of several kinds")
    prefix_sums = _PrefixSums.of(sweep, slices[0][1].shape[1], prefixes)
    on_gpu = networks[0].classify.weight.device.type == "cuda"
    make = _OnGpu if on_gpu else _OnProcessor
    sweepers = [make(networks, prefix_sums, replace(sweep, dtype=dtype), slices_at_once) for dtype in dtypes]
    nothing = RaceMeasures(
        prefixes=tuple(first.n_patches for first in prefix_sums.firsts),
        dtypes=tuple(dtypes),
        member_ids=tuple(member.entry.id for member in pool.of_patches),
        slice_names=(),
        u_tot=np.zeros(()),
        n_myo=np.zeros(()),
        pool_sha256=pool.manifest.sha256(),
    )
    parts: list[RaceMeasures] = []
    for first in range(0, len(slices), slices_at_once):
        some = slices[first : first + slices_at_once]
        part = replace(nothing, slice_names=tuple(name for name, _ in some))
        path = keep / f"part-{_key(part, sweep, some)}.npz" if keep else None
        if path is not None and path.is_file():
            parts.append(RaceMeasures.load(path))
        else:
            parts.append(_measured(part, [sweeper([frames for _, frames in some]) for sweeper in sweepers]))
            if path is not None:
                partial = path.with_suffix(".partial.npz")
                parts[-1].save(partial)
                partial.replace(path)
        on_progress(first + len(some), len(slices))
    return RaceMeasures.joined(parts)


def _key(part: RaceMeasures, sweep: SweepSettings, slices: Sequence[NamedSlice]) -> str:
    facts = [part.pool_sha256, part.prefixes, part.dtypes, part.member_ids, asdict(sweep), part.slice_names]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for _, frames in slices:
        digest.update(np.ascontiguousarray(frames).tobytes())
    return digest.hexdigest()[:24]


def _measured(part: RaceMeasures, by_dtype: Sequence[Sequence[Measured]]) -> RaceMeasures:
    n_slices = len(part.slice_names)
    u_tot = np.stack([torch.stack([totals for totals, _ in found]).numpy() for found in by_dtype])
    above = [[mask.numpy() for _, mask in found] for found in by_dtype]
    n_myo = [[[int(without_strays(m).sum()) for m in of_member[:n_slices]] for of_member in found] for found in above]
    # dtype member prefix slice -> dtype slice member prefix
    return replace(part, u_tot=u_tot.transpose(0, 3, 1, 2)[:, :n_slices], n_myo=np.array(n_myo).transpose(0, 2, 1))


@dataclass(frozen=True, eq=False)
class _PrefixSums:
    """Which patches come between one prefix and the next, and what follows from sums over each of these groups."""

    grid: PatchGrid
    firsts: tuple[FirstPatches, ...]
    groups: torch.Tensor
    """Number of the first prefix that a patch is in, int64 `patch_row_index patch_col_index`."""
    coverage: torch.Tensor
    """`prefix 1 row col`."""
    mask_coverage: torch.Tensor

    @classmethod
    def of(cls, sweep: SweepSettings, image_px: int, prefixes: Sequence[int]) -> _PrefixSums:
        grid = sweep.grid(image_px)
        wanted = [n for n in sorted({*prefixes, grid.n_patches}) if n <= grid.n_patches]
        firsts = tuple(sweep.patches(image_px, n) for n in wanted)  # refuses those below the mask's
        groups = torch.zeros(grid.n_per_axis, grid.n_per_axis, dtype=torch.int64)
        for i, (row, col) in enumerate(patch_order(grid, sweep.mask_stride_px)):
            groups[row // grid.stride_px, col // grid.stride_px] = int(np.searchsorted(wanted, i, side="right"))
        coverage = torch.from_numpy(np.stack([first.coverage() for first in firsts])[:, None])
        return cls(grid, firsts, groups, coverage, torch.from_numpy(firsts[0].mask_grid.coverage()))

    def measured(self, sums: torch.Tensor, of_mask: torch.Tensor) -> Measured:
        """From sums by group, `group slice 2 row col`, and of the mask's p(myocardium), `slice row col`."""
        _, totals = u_map(sums.cumsum(0), self.coverage.to(sums.device))
        return totals, (of_mask / self.mask_coverage.to(sums.device)).float() >= MASK_THRESHOLD


class _OnGpu:
    def __init__(
        self, networks: Sequence[UNet], prefix_sums: _PrefixSums, sweep: SweepSettings, slices_at_once: int
    ) -> None:
        settings = WholeSettings(sweep.dtype)
        grid, groups = prefix_sums.grid, prefix_sums.groups
        self._whole = WholeSweep(networks[0], slices_at_once, grid, sweep.mask_stride_px, settings, groups)
        self._weights = [padded_weights(network, settings) for network in networks]
        self._prefix_sums = prefix_sums

    @torch.inference_mode()
    def __call__(self, slices: Sequence[SliceFrames]) -> list[Measured]:
        filled = [*slices, *[slices[0]] * (self._whole.n_slices - len(slices))]
        self._whole.take([torch.from_numpy(frames) for frames in filled])
        found = []
        for weights in self._weights:
            self._whole.run(weights)
            found.append(self._prefix_sums.measured(self._whole.sums, self._whole.class_sums[:, MYOCARDIUM]))
        return [(totals.cpu(), mask.cpu()) for totals, mask in found]


class _OnProcessor:
    def __init__(
        self, networks: Sequence[nn.Module], prefix_sums: _PrefixSums, sweep: SweepSettings, slices_at_once: int
    ) -> None:
        self._networks, self._prefix_sums, self._sweep, self._n_slices = networks, prefix_sums, sweep, slices_at_once

    def __call__(self, slices: Sequence[SliceFrames]) -> list[Measured]:
        found = []
        for network in self._networks:
            each = [self._sums(network, frames) for frames in slices]
            sums, of_mask = (torch.stack(parts) for parts in zip(*each))
            found.append(self._prefix_sums.measured(sums.transpose(0, 1), of_mask))
        return found

    @torch.inference_mode()
    def _sums(self, network: nn.Module, frames: SliceFrames) -> Measured:
        """Sums by group, `group 2 row col`, and of the mask's p, `row col`."""
        grid, groups = self._prefix_sums.grid, self._prefix_sums.groups
        forward, tensor = engine_forward(network, self._sweep), frames_on("cpu", frames)
        sums = torch.zeros(int(groups.max()) + 1, 2, grid.image_px, grid.image_px, dtype=torch.float64)
        of_mask = sums.new_zeros(grid.image_px, grid.image_px)
        for part in grid.block().in_parts(self._sweep.batch_size):
            p = forward(part, tensor)[:, MYOCARDIUM].double().unflatten(0, (len(part.rows_px), len(part.cols_px)))
            for row, of_row in zip(part.rows_px, p):
                for col, patch in zip(part.cols_px, of_row):
                    at = (slice(row, row + grid.patch_px), slice(col, col + grid.patch_px))
                    group = sums[groups[row // grid.stride_px, col // grid.stride_px]]
                    group[0][at] += patch
                    group[1][at] += patch * patch
                    if row % self._sweep.mask_stride_px == 0 and col % self._sweep.mask_stride_px == 0:
                        of_mask[at] += patch
        return sums, of_mask
