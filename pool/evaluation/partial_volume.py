"""Outlines that are a pixel too thin or too thick on both sides: what false negatives and false positives do to flow.

Do et al. 2020, "Adaptability" and Figure S7: both have much the same Dice, but a thick outline takes in blood and fat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from pool.errors import StudyError
from pool.evaluation.asl import FlowRow, ImageRow
from pool.evaluation.asl_flow import segment_flows
from pool.evaluation.overlap import dice
from pool.evaluation.regression import FEWEST_PAIRS, Regression, regression
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

    @classmethod
    def of(cls, name: str, rows: Sequence[ImageRow]) -> OutlineErrors:
        """Mean errors of outlines that were measured image by image.

        Args:
            name: of what made the outlines.
            rows: one an image, at least one.
        """
        counts = [(row.n_false_positive, row.n_false_negative) for row in rows]
        return cls.of_counts(name, counts, [row.dice for row in rows])

    @classmethod
    def of_counts(cls, name: str, counts: Sequence[tuple[int, int]], dices: Sequence[float]) -> OutlineErrors:
        """From false positives and false negatives [pixels], and Dice, of each image."""
        positive, negative = zip(*counts)
        return cls(
            name, float(np.mean(positive)), float(np.mean(negative)), (float(np.mean(dices)), float(np.std(dices)))
        )

    @property
    def balance(self) -> float:
        """False positives less false negatives [pixels an image]."""
        return self.n_false_positive - self.n_false_negative


@dataclass(frozen=True)
class MovedOutline:
    """The reference outlines of all studies, a pixel thinner or thicker."""

    errors: OutlineErrors
    segments: tuple[FlowRow, ...]
    """Flow of the AHA segments that both outlines have, the moved one as the automatic one."""
    n_empty: int
    """Studies of which nothing is left."""

    @property
    def flow_bias(self) -> float | None:
        """Mean flow less that of the reference over the segments [mL/min/g]; None without segments."""
        return float(np.mean([row.automatic - row.reference for row in self.segments])) if self.segments else None

    @property
    def flow(self) -> Regression | None:
        """Flow under the moved outlines on that under the reference; None where too few segments have both."""
        if len(self.segments) < FEWEST_PAIRS:
            return None
        return regression([row.automatic for row in self.segments], [row.reference for row in self.segments])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, those of single segments left out."""
        return {
            "errors": asdict(self.errors),
            "n_segments": len(self.segments),
            "flow_bias": self.flow_bias,
            "flow": asdict(self.flow) if self.flow is not None else None,
            "n_empty": self.n_empty,
        }


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
    counts = [(int((mask & ~truth).sum()), int((truth & ~mask).sum())) for mask, truth in pairs]
    return OutlineErrors.of_counts(name, counts, [dice(mask, truth) for mask, truth in pairs])


def _moved(studies: Sequence[AslStudy], name: str, change: Callable[[Mask], Mask]) -> MovedOutline:
    pairs: list[tuple[Mask, Mask]] = []
    rows: list[FlowRow] = []
    n_empty = 0
    for study in studies:
        truth = study.labels == MYOCARDIUM
        mask = change(truth)
        pairs.append((mask, truth))
        if not mask.any():
            n_empty += 1
            continue
        with suppress(StudyError):  # a slice without RV has no segments, whatever the outline
            rows += segment_flows(study, mask)
    return MovedOutline(errors_of(name, pairs), tuple(rows), n_empty)
