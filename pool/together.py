"""Members swept on a GPU, one after the other in the same memory, their maps made on the device.

What comes out is what `pool.sweep` gives for each member and slice, up to rounding. The same member, slice, settings,
batch and device give the same bytes, whether it is asked for alone or with others; several slices in one batch may have
other last bits.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeGuard
from weakref import WeakKeyDictionary

import torch
from torch import nn

from pool.engine.whole.sweep import WholeSettings, WholeSweep, padded_weights
from pool.engine.whole.weights import UNetWeights
from pool.networks.unet import UNet
from pool.shapes import MYOCARDIUM, SliceFrames
from pool.strays import without_strays
from pool.sweep import MASK_THRESHOLD, MemberMaps, SweepSettings

MOST_READY = 2
"""Sweeps of other sizes or settings that keep their memory and their captured step."""
FREE_SHARE = 0.25
"""Of a GPU's memory that must be free for a network's folded weights to be kept for the next slice."""

DeviceMaps = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""U-map `slice row col`, mean probability `slice class row col`, U_tot `slice`, on the device."""


class DeviceSweep:
    """Sweeps some slices with networks of one size. Not for several threads at once.

    Args:
        network: any of them, in evaluation mode, on its device.
        n_slices: in a batch.
        sweep: patches and strides; its dtype counts only where `settings` is None, its batch size never: as many
            patches go at once as the device's memory holds, unless `settings` says otherwise.
        image_px: rows and columns of a slice.
        settings: how; by default with the dtype of `sweep`.
    """

    def __init__(
        self,
        network: UNet,
        n_slices: int,
        sweep: SweepSettings,
        image_px: int,
        settings: WholeSettings | None = None,
    ) -> None:
        settings = settings or WholeSettings(sweep.dtype)
        self.whole = WholeSweep(network, n_slices, sweep.grid(image_px), sweep.mask_stride_px, settings)
        patches, device = sweep.patches(image_px), self.whole.device
        self._coverage = torch.from_numpy(patches.coverage()).to(device)
        self._mask_coverage = torch.from_numpy(patches.mask_grid.coverage()).to(device)
        self._taken: list[SliceFrames] = []

    def take(self, slices: Sequence[SliceFrames]) -> None:
        """The slices to sweep from now on; fewer than a batch are filled up with the first.

        They are copied once, as long as the same arrays come, which must not be changed in place meanwhile.
        """
        filled = [*slices, *[slices[0]] * (self.whole.n_slices - len(slices))]
        if len(self._taken) != len(filled) or any(mine is not its for mine, its in zip(self._taken, filled)):
            self._taken = []
            self.whole.take([torch.from_numpy(frames) for frames in filled])
            self._taken = filled

    @torch.inference_mode()
    def run(self, weights: UNetWeights) -> DeviceMaps:
        """Maps by one network: what `Moments.variance` and `maps_of` compute.

        Raises:
            torch.OutOfMemoryError: a row of patches of every slice is too much.
        """
        self.whole.run(weights)
        uncertainty, u_tot = u_map(self.whole.sums[0], self._coverage)
        return uncertainty, (self.whole.class_sums / self._mask_coverage).float(), u_tot


class SweptTogether:
    """Networks of one size made ready to sweep slices. Not for several threads at once.

    Args:
        networks: U-Nets of one size in evaluation mode, on one device; later changes of their weights have no effect.
        sweep: see `DeviceSweep`.
        image_px: see `DeviceSweep`.
        settings: see `DeviceSweep`.
        slices_at_once: in one batch.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        sweep: SweepSettings,
        image_px: int,
        settings: WholeSettings | None = None,
        slices_at_once: int = 1,
    ) -> None:
        unets = [network for network in networks if type(network) is UNet]
        assert len(unets) == len(networks)  # see `can_be_swept_together`
        self.sweep = DeviceSweep(unets[0], slices_at_once, sweep, image_px, settings)
        weights = {id(unet): unet for unet in unets}
        known = {key: padded_weights(unet, self.sweep.whole.settings) for key, unet in weights.items()}
        self._weights = [known[id(unet)] for unet in unets]

    def __call__(
        self, slices: Sequence[SliceFrames], on_swept: Callable[[], None] = lambda: None
    ) -> list[list[MemberMaps]]:
        """Maps by network and slice.

        Args:
            slices: prepared slices of one size.
            on_swept: called whenever a network's work on a batch has been handed to the device.

        Raises:
            torch.OutOfMemoryError: a row of patches of every slice is too much.
        """
        n_at_once = self.sweep.whole.n_slices
        found: list[list[MemberMaps]] = [[] for _ in self._weights]
        for first in range(0, len(slices), n_at_once):
            some = slices[first : first + n_at_once]
            self.sweep.take(some)
            for of_network, maps in zip(found, fetched(self.run_all(on_swept))):
                of_network += maps[: len(some)]
        return found

    def run_all(self, on_swept: Callable[[], None] = lambda: None) -> list[DeviceMaps]:
        """Maps by every network of the slices that were taken last, on the device."""
        maps = []
        for weights in self._weights:
            maps.append(self.sweep.run(weights))
            on_swept()
        return maps


def fetched(maps: Sequence[DeviceMaps]) -> list[list[MemberMaps]]:
    """Maps by network and slice, brought from the device all at once."""
    uncertainty, probability, u_tot = (torch.stack(parts).cpu().numpy() for parts in zip(*maps))
    mask = [[without_strays(p[MYOCARDIUM] >= MASK_THRESHOLD) for p in of_network] for of_network in probability]
    return [
        [
            MemberMaps(
                mask=mask[i][j],
                probability=probability[i, j],
                uncertainty=uncertainty[i, j],
                u_tot=total,
                n_myo=int(mask[i][j].sum()),
            )
            for j, total in enumerate(totals)
        ]
        for i, totals in enumerate(u_tot.tolist())
    ]


def u_map(sums: torch.Tensor, coverage: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """U-map, float32 `... row col`, and U_tot, float64 `...`.

    Args:
        sums: of p and its square, `... 2 row col`.
        coverage: how many patches they are of, `... row col`.
    """
    mean, mean_square = (sums / coverage.unsqueeze(-3)).unbind(-3)
    variance = (mean_square - mean * mean).clamp_min_(0.0)
    variance = torch.where(coverage == 1, 0.0, variance)
    return variance.sqrt().float(), variance.sum((-2, -1))


def is_on_gpu(network: nn.Module) -> TypeGuard[UNet]:
    """Whether a network is a U-Net on a GPU, where `DeviceSweep` is what is fastest."""
    return type(network) is UNet and network.classify.weight.device.type == "cuda"


def can_be_swept_together(networks: Sequence[nn.Module]) -> bool:
    """Whether networks are U-Nets of one size on one GPU."""
    if not networks or not all(is_on_gpu(network) for network in networks):
        return False
    return len({_size(network) for network in networks}) == 1


class ReadySweeps:
    """Keeps what sweeps on GPUs need from one member and slice to the next. For any number of threads, in turn."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sweeps: OrderedDict[object, DeviceSweep] = OrderedDict()
        self._weights: WeakKeyDictionary[UNet, dict[str, UNetWeights]] = WeakKeyDictionary()

    def maps(self, network: UNet, frames: SliceFrames, sweep: SweepSettings) -> MemberMaps:
        """One slice by one network.

        Args:
            network: in evaluation mode; its weights must not change any more.
            frames: a prepared slice.
            sweep: patches and strides, dtype; on a GPU the batch is planned from free memory.

        Raises:
            torch.OutOfMemoryError: a row of patches is too much.
        """
        with self._lock:
            key = (_size(network), sweep, frames.shape[1])
            ready = self._sweeps.pop(key, None)
            if ready is None:
                while len(self._sweeps) >= MOST_READY:
                    self._sweeps.popitem(last=False)
                ready = DeviceSweep(network, 1, sweep, frames.shape[1])
            self._sweeps[key] = ready
            ready.take([frames])
            return fetched([ready.run(self._folded(network, ready.whole.settings))])[0][0]

    def _folded(self, network: UNet, settings: WholeSettings) -> UNetWeights:
        known = self._weights.setdefault(network, {})
        if settings.dtype in known:
            return known[settings.dtype]
        weights = padded_weights(network, settings)
        device = network.classify.weight.device
        if device.type == "cuda":
            n_free_bytes, n_bytes = torch.cuda.mem_get_info(device)
            if n_free_bytes < FREE_SHARE * n_bytes:
                return weights
        known[settings.dtype] = weights
        return weights


READY = ReadySweeps()
"""Of this process."""


def _size(network: nn.Module) -> object:
    """Equal for networks that can take turns in the same memory."""
    weights = list(network.parameters())
    return weights[0].device, tuple(tuple(weight.shape) for weight in weights)
