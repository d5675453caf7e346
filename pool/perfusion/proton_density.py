"""Proton-density frames: what they say of coils, of M0, and of the share that survives the saturation pulse.

A frame of the same readout without saturation pulse shows M0 and the coils. Its ratio with the baseline of blood, whose
native T1 is known, gives the share that survives; and its smooth course over the wall gives every pixel's baseline with
less noise than the few frames before the bolus do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from pool.errors import InconsistentStudyError
from pool.perfusion.baseline import channel_noise, without_noise_floor
from pool.perfusion.blood_curve import BloodCurve
from pool.perfusion.regions import SliceRegions
from pool.perfusion.sequence import Agent, Relaxation, SequenceValues, require
from pool.perfusion.signal import relative_m0_signal

SMOOTHING_MM = 3.0
"""Of the frames over the wall, standard deviation of a Gaussian [mm]: far less than coils vary over."""


@dataclass(frozen=True, eq=False)
class ProtonDensity:
    """Frames of the same readout without saturation pulse, on the grid of the series.

    Raises:
        InconsistentStudyError: pixels that are not finite and positive on the whole.
        SettingsError: a flip angle out of range.
    """

    frames: np.ndarray
    """`slice frame row col`, in the units of the series."""
    flip_deg: float
    """Flip angle [degrees], mostly lower than that of the perfusion frames."""

    def __post_init__(self) -> None:
        require("flip angle of the proton-density frames", self.flip_deg, 0.5, 90, "degrees")
        if self.frames.ndim != 4 or not np.isfinite(self.frames).all() or not (self.frames.max(initial=0.0) > 0):
            raise InconsistentStudyError(
                "proton-density frames",
                "must be slice frame row col with finite pixels",
                str(self.frames.shape),
                "Leave them out, or export them again.",
            )

    def signal(self, slice_index: int) -> np.ndarray:
        """Mean over the frames of a slice, the noise floor removed, `row col`."""
        frames = self.frames[slice_index].astype(np.float64)
        noise = channel_noise(frames.reshape(len(frames), -1))
        return without_noise_floor(frames.mean(axis=0), noise)

    def unsaturated(
        self, slice_index: int, blood: BloodCurve, tissue: Relaxation, agent: Agent, sequence: SequenceValues
    ) -> float:
        """Share of the magnetisation that survives the saturation pulse, from blood before the bolus.

        The signal is linear in that share.
        """
        density = float(self.signal(slice_index)[blood.pixels].mean())
        measured = float(blood.signal[blood.before].mean()) / max(density, 1e-9) * self._own(tissue, agent, sequence)
        none, all_of_it = (relative_m0_signal(np.zeros(()), tissue, agent, sequence, u) for u in (0.0, 1.0))
        return float(np.clip((measured - none) / (all_of_it - none), 0.0, 0.5))

    def baseline(
        self,
        slice_index: int,
        regions: SliceRegions,
        spacing_mm: tuple[float, float],
        tissue: Relaxation,
        agent: Agent,
        sequence: SequenceValues,
        unsaturated: float,
    ) -> np.ndarray:
        """Signal before the bolus that every myocardial pixel must have, `row col`, 0 elsewhere."""
        mask = regions.myocardium
        sigma = [SMOOTHING_MM / s for s in spacing_mm]
        weight = ndimage.gaussian_filter(mask.astype(float), sigma)
        smooth = ndimage.gaussian_filter(np.where(mask, self.signal(slice_index), 0.0), sigma) / np.maximum(
            weight, 1e-6
        )
        before = float(relative_m0_signal(np.zeros(()), tissue, agent, sequence, unsaturated))
        return np.where(mask, smooth * before / self._own(tissue, agent, sequence), 0.0)

    def _own(self, tissue: Relaxation, agent: Agent, sequence: SequenceValues) -> float:
        """Signal of such a frame over M0."""
        readout = replace(sequence, flip_deg=self.flip_deg)
        return float(relative_m0_signal(np.zeros(()), tissue, agent, readout, 1.0))
