"""Members swept together on a GPU: slices of a study in one batch, one member after the other, maps made on the device.

What comes out is what `pool.sweep` gives for each member and slice, up to rounding. The same members, slices, settings
and device give the same bytes; another number of slices at once may give other last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from pool.engine.whole.sweep import WholeSettings, WholeSweep, padded_weights
from pool.engine.whole.weights import UNetWeights
from pool.networks.unet import UNet
from pool.shapes import MYOCARDIUM, SliceFrames
from pool.strays import without_strays
from pool.sweep import MASK_THRESHOLD, MemberMaps, SweepSettings


class SweptTogether:
    """Networks of one size made ready to sweep slices. Not for several threads at once.

    Args:
        networks: U-Nets of one size in evaluation mode, on one device; later changes of their weights have no effect.
        sweep: patches and strides; its dtype and batch size count only where `settings` is None.
        image_px: rows and columns of a slice.
        settings: how; by default with the dtype of `sweep` and as many patches at once as memory holds.
    """

    def __init__(
        self, networks: Sequence[nn.Module], sweep: SweepSettings, image_px: int, settings: WholeSettings | None = None
    ) -> None:
        self.settings = settings or WholeSettings(sweep.dtype)
        unets = [network for network in networks if type(network) is UNet]
        assert len(unets) == len(networks)  # see `can_be_swept_together`
        self._first, self._sweep, self._image_px = unets[0], sweep, image_px
        known: dict[int, UNetWeights] = {}
        for unet in unets:
            if id(unet) not in known:
                known[id(unet)] = padded_weights(unet, self.settings)
        self._weights = [known[id(unet)] for unet in unets]
        device = unets[0].classify.weight.device
        patches = sweep.patches(image_px)
        self._coverage, self._mask_coverage = (
            torch.from_numpy(coverage).to(device) for coverage in (patches.coverage(), patches.mask_grid.coverage())
        )
        self._whole: WholeSweep | None = None

    @property
    def how(self) -> str:
        """How it is computed, in words."""
        return self._whole.how if self._whole else "not run yet"

    @torch.inference_mode()
    def __call__(
        self, slices: Sequence[SliceFrames], on_swept: Callable[[int], None] = lambda _: None
    ) -> list[list[MemberMaps]]:
        """Maps by network and slice.

        Args:
            slices: prepared slices of one size.
            on_swept: called with the number of networks whose work has been handed to the device.

        Raises:
            torch.OutOfMemoryError: a row of patches of every slice is too much.
        """
        if self._whole is None or self._whole.n_slices != len(slices):
            self._whole = None  # frees its memory before more is asked for
            grid, mask_stride_px = self._sweep.grid(self._image_px), self._sweep.mask_stride_px
            self._whole = WholeSweep(self._first, len(slices), grid, mask_stride_px, self.settings)
        self._whole.take([torch.from_numpy(frames) for frames in slices])
        maps = self.run_all(on_swept)
        uncertainty, probability, u_tot = (torch.stack(parts).cpu() for parts in zip(*maps))
        above = (probability[:, :, MYOCARDIUM] >= MASK_THRESHOLD).numpy()
        mask = [[without_strays(of_slice) for of_slice in of_network] for of_network in above]
        return [
            [
                MemberMaps(
                    mask=mask[i][j],
                    probability=probability[i, j].numpy(),
                    uncertainty=uncertainty[i, j].numpy(),
                    u_tot=total,
                    n_myo=int(mask[i][j].sum()),
                )
                for j, total in enumerate(totals)
            ]
            for i, totals in enumerate(u_tot.tolist())
        ]

    @torch.inference_mode()
    def run_all(self, on_swept: Callable[[int], None] = lambda _: None) -> list[tuple[torch.Tensor, ...]]:
        """U-map, mean probability and U_tot of every network, on the device, over the slices of the last call."""
        assert self._whole is not None  # there was a call
        maps = []
        for i, weights in enumerate(self._weights):
            self._whole.run(weights)
            maps.append(self._maps(self._whole.sums[0], self._whole.class_sums))
            on_swept(i + 1)
        return maps

    def _maps(self, sums: torch.Tensor, class_sums: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """U-map, mean probability and U_tot of every slice: what `Moments.variance` and `maps_of` compute."""
        uncertainty, u_tot = u_map(sums, self._coverage)
        return uncertainty, (class_sums / self._mask_coverage).float(), u_tot


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


def can_be_swept_together(networks: Sequence[nn.Module]) -> bool:
    """Whether networks are U-Nets of one size on one GPU."""
    unets = [network for network in networks if type(network) is UNet]
    if not unets or len(unets) < len(networks):
        return False
    sizes = {tuple(tuple(weight.shape) for weight in unet.parameters()) for unet in unets}
    devices = {unet.classify.weight.device for unet in unets}
    return len(sizes) == 1 and len(devices) == 1 and next(iter(devices)).type == "cuda"
