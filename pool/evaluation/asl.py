"""What a member of trials is worth on ASL images whose truth is known: numbers of images, of segments, of all of them.

Dice, MCD Uncertainty and Dice Uncertainty as in Do et al. 2020; an empty mask counts as Dice 0 and has no MCD
Uncertainty, so that it is missing from regressions of it, which say how many images they hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.evaluation.overlap import dice
from pool.evaluation.regression import Regression, regression
from pool.shapes import BLOOD_POOL, MYOCARDIUM, Map, Mask
from pool.trials.maps import TrialMaps


@dataclass(frozen=True)
class ImageRow:
    """One image."""

    study: str
    kind: str
    """`control` or `labelled`."""
    dice: float
    n_false_positive: int
    """Pixels of the mask outside the reference."""
    n_false_negative: int
    """Pixels of the reference outside the mask."""
    mcd_uncertainty: float | None
    """None for an empty mask."""
    dice_uncertainty: float
    contrast: float
    """Contrast-to-noise ratio of blood and myocardium, see `contrast_to_noise`."""

    @classmethod
    def of(cls, study: str, kind: str, pixels: Map, labels: np.ndarray, maps: TrialMaps) -> ImageRow:
        """Measure an answer that was given with the reference.

        Args:
            study, kind: of the image.
            pixels: the image, `row col`, in any unit.
            labels: its truth, uint8 `row col`.
            maps: the member's answer.
        """
        truth: Mask = labels == MYOCARDIUM
        assert maps.dice_uncertainty is not None  # the trials were run with the reference
        return cls(
            study=study,
            kind=kind,
            dice=dice(maps.mask, truth),
            n_false_positive=int((maps.mask & ~truth).sum()),
            n_false_negative=int((truth & ~maps.mask).sum()),
            mcd_uncertainty=maps.mcd_uncertainty,
            dice_uncertainty=maps.dice_uncertainty,
            contrast=contrast_to_noise(pixels, labels),
        )


@dataclass(frozen=True)
class FlowRow:
    """Flow of one AHA segment of one study under both outlines [mL/min/g]."""

    study: str
    segment: int
    reference: float
    automatic: float
    noise: float
    """Physiological noise under the automatic outline: standard deviation over the pairs."""


@dataclass(frozen=True)
class AslSummary:
    """All images and segments of a test."""

    n_images: int
    dice: dict[str, tuple[float, float]]
    """Mean and standard deviation by `control`, `labelled` and `all`."""
    n_false_positive: float
    """Mean pixels an image."""
    n_false_negative: float
    mcd_on_dice_uncertainty: Regression
    """MCD Uncertainty on Dice Uncertainty: the paper's Figure 5A."""
    dice_on_mcd_uncertainty: Regression
    dice_on_contrast: Regression
    flow: Regression | None
    """Automatic on reference flow of the segments, Figure 3; None where too few segments have both."""
    mcd_uncertainty_on_noise: Regression | None
    """Mean of a study's images on the mean noise of its segments, Figure S5."""

    @classmethod
    def of(cls, images: Sequence[ImageRow], segments: Sequence[FlowRow]) -> AslSummary:
        """Summarise.

        Raises:
            SettingsError: fewer than three images with a mask, or images that are all alike.
        """
        dices = {
            kind: np.array([row.dice for row in images if kind in ("all", row.kind)])
            for kind in ("all", *sorted({row.kind for row in images}))
        }
        scored = [row for row in images if row.mcd_uncertainty is not None]
        mcd = [row.mcd_uncertainty or 0.0 for row in scored]
        by_study = noise_and_uncertainty(scored, segments)
        told = [row for row in images if np.isfinite(row.contrast)]
        return cls(
            n_images=len(images),
            dice={
                kind: (float(found.mean()), float(found.std(ddof=min(1, len(found) - 1))))
                for kind, found in dices.items()
            },
            n_false_positive=float(np.mean([row.n_false_positive for row in images])),
            n_false_negative=float(np.mean([row.n_false_negative for row in images])),
            mcd_on_dice_uncertainty=regression(mcd, [row.dice_uncertainty for row in scored]),
            dice_on_mcd_uncertainty=regression([row.dice for row in scored], mcd),
            dice_on_contrast=regression([row.dice for row in told], [row.contrast for row in told]),
            flow=_regression_or_none([r.automatic for r in segments], [r.reference for r in segments]),
            mcd_uncertainty_on_noise=_regression_or_none([u for _, u in by_study], [n for n, _ in by_study]),
        )


def contrast_to_noise(pixels: Map, labels: np.ndarray) -> float:
    """Difference of the means of blood and myocardium over the standard deviation within them, averaged.

    The paper does not say how it took the noise; within the tissues it holds texture of coils as well, so its values
    are lower than those of noise in air. NaN where a tissue has fewer than two pixels.

    Args:
        pixels: `row col`.
        labels: uint8 `row col`; one pixel along the border of each tissue is left out where more than that is there.
    """
    tissues = []
    for label in (BLOOD_POOL, MYOCARDIUM):
        inside = labels == label
        core = ndimage.binary_erosion(inside)
        chosen = pixels[core if core.sum() > 1 else inside]
        if len(chosen) < 2:
            return float("nan")
        tissues.append(chosen.astype(np.float64))
    blood, muscle = tissues
    return float(abs(blood.mean() - muscle.mean()) / (0.5 * (blood.std(ddof=1) + muscle.std(ddof=1))))


def noise_and_uncertainty(images: Sequence[ImageRow], segments: Sequence[FlowRow]) -> list[tuple[float, float]]:
    """Mean physiological noise of the segments [mL/min/g] and mean MCD Uncertainty of every study that has both."""
    found = []
    for study in sorted({row.study for row in segments}):
        noise = [row.noise for row in segments if row.study == study]
        uncertainty = [row.mcd_uncertainty for row in images if row.study == study and row.mcd_uncertainty is not None]
        if uncertainty:
            found.append((float(np.mean(noise)), float(np.mean(uncertainty))))
    return found


def _regression_or_none(y: list[float], x: list[float]) -> Regression | None:
    return regression(y, x) if len(x) >= 3 else None
