"""U_pp of every member over the first patches of a sweep, for many numbers of patches at once, slice by slice: what a
race's levels, margins and shares are chosen from and judged by.

Measured in several data types in one pass, so that it also says what these change.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pool.engine.whole.sweep import WholeSettings, WholeSweep, padded_weights
from pool.errors import SettingsError, UnreadableFileError
from pool.member import Pool
from pool.networks.unet import UNet
from pool.npzfile import read_npz_arrays
from pool.patch_order import patch_order
from pool.phantom.presets import get_preset
from pool.phantom.slices import make_labelled_slices
from pool.shapes import MYOCARDIUM, SliceFrames
from pool.strays import without_strays
from pool.sweep import MASK_THRESHOLD, SweepSettings
from pool.together import u_map

PREFIXES = (25, 33, 41, 49, 57, 73, 89, 105, 129, 153, 185, 217, 289, 361, 433, 577, 1089)
"""First patches after which U_pp is noted, see `pool.patch_order`."""
PRESETS = ("exD-1", "exD-2", "inD")
"""Scanners, in turn, three slices of a heart at a time."""
SEED = 2026
SLICES_PER_HEART = 3


@dataclass(frozen=True, eq=False)
class RaceMeasures:
    """What was measured."""

    prefixes: tuple[int, ...]
    """Numbers of first patches, rising; the last is the full sweep."""
    dtypes: tuple[str, ...]
    member_ids: tuple[str, ...]
    slice_names: tuple[str, ...]
    u_tot: np.ndarray
    """Over the first patches: float64 `dtype slice member prefix`."""
    n_myo: np.ndarray
    """Pixels of the mask, which is the same over all prefixes: int64 `dtype slice member`."""
    pool_sha256: str
    """Hash of the pool's manifest."""

    @property
    def u_pp(self) -> np.ndarray:
        """float64 `dtype slice member prefix`; infinite where the mask is empty, so that such a member never wins."""
        n_myo = self.n_myo[..., None]
        return np.where(n_myo > 0, self.u_tot / np.maximum(n_myo, 1), np.inf)

    def save(self, path: Path) -> None:
        """Write as `.npz`."""
        words = {name: list(getattr(self, name)) for name in ("prefixes", "dtypes", "member_ids", "slice_names")}
        words["pool_sha256"] = [self.pool_sha256]
        np.savez_compressed(path, u_tot=self.u_tot, n_myo=self.n_myo, words=np.array(json.dumps(words)))

    @classmethod
    def load(cls, path: Path) -> RaceMeasures:
        """Read what `save` wrote.

        Raises:
            UnreadableFileError: not such a file.
        """
        try:
            arrays = read_npz_arrays(path, ("u_tot", "n_myo", "words"))
            words: dict[str, Any] = json.loads(str(arrays["words"]))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            rule = "must be what `python -m pool race-check` wrote"
            raise UnreadableFileError(f"file {path.name}", rule, str(error)) from error
        return cls(
            prefixes=tuple(words["prefixes"]),
            dtypes=tuple(words["dtypes"]),
            member_ids=tuple(words["member_ids"]),
            slice_names=tuple(words["slice_names"]),
            u_tot=arrays["u_tot"],
            n_myo=arrays["n_myo"],
            pool_sha256=words["pool_sha256"][0],
        )


def shifted_slices(n_slices: int, device: torch.device | str = "cpu") -> list[tuple[str, SliceFrames]]:
    """Phantom slices of several scanners by name: always the same ones on the same kind of device."""
    slices: list[tuple[str, SliceFrames]] = []
    for heart in range(-(-n_slices // SLICES_PER_HEART)):
        name = PRESETS[heart % len(PRESETS)]
        generator = torch.Generator(device).manual_seed(SEED + heart)
        frames = make_labelled_slices(get_preset(name), SLICES_PER_HEART, generator).frames.cpu().numpy()
        slices += [(f"{name}-{heart}-{level}", frames[level]) for level in range(SLICES_PER_HEART)]
    return slices[:n_slices]


def measure_races(
    pool: Pool,
    slices: Sequence[tuple[str, SliceFrames]],
    dtypes: Sequence[str],
    sweep: SweepSettings | None = None,
    prefixes: Sequence[int] = PREFIXES,
    slices_at_once: int = SLICES_PER_HEART,
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
        on_progress: called with (slices done, slices in total).

    Raises:
        SettingsError: networks of several kinds or sizes, or prefixes that are not those of the sweep.
    """
    sweep = sweep or SweepSettings()
    networks = [member.network for member in pool.members if type(member.network) is UNet]
    if len(networks) < len(pool.members) or len({member.entry.network for member in pool.members}) > 1:
        raise SettingsError("race check", "takes U-Nets of one size", "a pool of several kinds")
    image_px = slices[0][1].shape[1]
    grid = sweep.grid(image_px)
    prefixes = tuple(n for n in sorted({*prefixes, grid.n_patches}) if n <= grid.n_patches)
    firsts = [sweep.patches(image_px, n) for n in prefixes]  # refuses those below the mask's
    groups = torch.zeros(grid.n_per_axis, grid.n_per_axis, dtype=torch.int64)
    for i, (row, col) in enumerate(patch_order(grid, sweep.mask_stride_px)):
        groups[row // grid.stride_px, col // grid.stride_px] = int(np.searchsorted(prefixes, i, side="right"))
    device = networks[0].classify.weight.device
    coverage = torch.from_numpy(np.stack([first.coverage() for first in firsts])[:, None]).to(
        device
    )  # prefix 1 row col
    mask_coverage = torch.from_numpy(firsts[0].mask_grid.coverage()).to(device)
    shape = (len(dtypes), len(slices), len(networks))
    u_tot, n_myo = np.zeros((*shape, len(prefixes))), np.zeros(shape, dtype=np.int64)
    sweeps = []
    for dtype in dtypes:
        settings = WholeSettings(dtype)
        whole = WholeSweep(networks[0], slices_at_once, grid, sweep.mask_stride_px, settings, groups)
        sweeps.append((whole, [padded_weights(network, settings) for network in networks]))
    for first in range(0, len(slices), slices_at_once):
        some = [torch.from_numpy(frames) for _, frames in slices[first : first + slices_at_once]]
        filled = some + [some[0]] * (slices_at_once - len(some))
        for i, (whole, weights) in enumerate(sweeps):
            whole.take(filled)
            found = []
            with torch.inference_mode():
                for of_member in weights:
                    whole.run(of_member)
                    _, totals = u_map(whole.sums.cumsum(0), coverage)
                    p = (whole.class_sums[:, MYOCARDIUM] / mask_coverage).float()
                    found.append((totals, p >= MASK_THRESHOLD))
                of_prefixes, of_masks = (torch.stack(parts).cpu().numpy() for parts in zip(*found))
            at = slice(first, first + len(some))
            u_tot[i, at] = of_prefixes.transpose(2, 0, 1)[: len(some)]  # member prefix slice
            sizes = [[int(without_strays(mask).sum()) for mask in of_member] for of_member in of_masks]
            n_myo[i, at] = np.array(sizes).T[: len(some)]
        on_progress(first + len(some), len(slices))
    return RaceMeasures(
        prefixes=prefixes,
        dtypes=tuple(dtypes),
        member_ids=tuple(member.entry.id for member in pool.members),
        slice_names=tuple(name for name, _ in slices),
        u_tot=u_tot,
        n_myo=n_myo,
        pool_sha256=pool.manifest.sha256(),
    )
