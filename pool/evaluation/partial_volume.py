"""Outlines that are a pixel too thin or too thick on both sides: what false negatives and false positives do to flow.

Do et al. 2020, "Adaptability" and Figure S7: both have much the same Dice, but a thick outline takes in blood and fat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from pool.errors import StudyError
from pool.evaluation.asl_flow import segment_flows
from pool.evaluation.overlap import dice
from pool.phantom.asl import AslStudy
from pool.shapes import MYOCARDIUM, Mask


@dataclass(frozen=True)
class OutlineErrors:
    """What an outline, or a network's outlines, get wrong on average."""

    name: str
    n_false_positive: float
    """Mean pixels an image."""
    n_false_negative: float
    """Mean pixels an image."""
    dice: tuple[float, float]
    """Mean and standard deviation."""

    @property
    def balance(self) -> float:
        """False positives less false negatives [pixels an image]."""
        return self.n_false_positive - self.n_false_negative


@dataclass(frozen=True)
class MovedOutline:
    """The reference outlines of all studies, a pixel thinner or thicker."""

    errors: OutlineErrors
    n_segments: int
    """AHA segments that both outlines have."""
    flow_bias: float | None
    """Mean flow less that of the reference over them [mL/min/g]; None without segments."""
    n_empty: int
    """Studies of which nothing is left."""


def thin(mask: Mask) -> Mask:
    """Without the pixels that touch the outside by an edge."""
    return np.asarray(ndimage.binary_erosion(mask))


def thick(mask: Mask) -> Mask:
    """With the pixels that touch it by an edge."""
    return np.asarray(ndimage.binary_dilation(mask))


def moved_outlines(studies: Sequence[AslStudy]) -> tuple[MovedOutline, MovedOutline]:
    """The thin and the thick outlines of studies, held against the reference."""
    return _moved(studies, "thin", thin), _moved(studies, "thick", thick)


def errors_of(name: str, pairs: Sequence[tuple[Mask, Mask]]) -> OutlineErrors:
    """Mean errors of masks against their truths.

    Args:
        name: of what made the masks.
        pairs: mask and truth of each image, at least one.
    """
    dices = np.array([dice(mask, truth) for mask, truth in pairs])
    return OutlineErrors(
        name,
        float(np.mean([(mask & ~truth).sum() for mask, truth in pairs])),
        float(np.mean([(truth & ~mask).sum() for mask, truth in pairs])),
        (float(dices.mean()), float(dices.std())),
    )


def _moved(studies: Sequence[AslStudy], name: str, change: Callable[[Mask], Mask]) -> MovedOutline:
    pairs, rows, n_empty = [], [], 0
    for study in studies:
        truth = study.labels == MYOCARDIUM
        mask = change(truth)
        pairs.append((mask, truth))
        if not mask.any():
            n_empty += 1
            continue
        with suppress(StudyError):  # a slice without RV has no segments, whatever the outline
            rows += segment_flows(study, mask)
    bias = float(np.mean([row.automatic - row.reference for row in rows])) if rows else None
    return MovedOutline(errors_of(name, pairs), len(rows), bias, n_empty)
