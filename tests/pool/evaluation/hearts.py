"""Drawn hearts for the tests of this folder: a ring about (64, 64), its cavity, and the RV on the image's left."""

from __future__ import annotations

import numpy as np

from pool.evaluation.failures import FailureCriteria
from pool.evaluation.rules import MeasuredSlice, MemberMeasure
from pool.evaluation.true_heart import TrueHeart
from pool.selection import MemberScore

ROWS, COLS = np.indices((128, 128))
RADIUS = np.hypot(ROWS - 64, COLS - 64)
ANGLE_DEG = np.degrees(np.arctan2(ROWS - 64, COLS - 64)) % 360
SPACING_MM = (1.0, 1.0)


def heart_labels(inner_px: float = 15, outer_px: float = 23, with_rv: bool = True) -> np.ndarray:
    labels = np.where(inner_px > RADIUS, 2, np.where(outer_px > RADIUS, 1, 0)).astype(np.uint8)
    if with_rv:
        labels[(np.hypot(ROWS - 64, COLS - 30) < 16) & (outer_px + 1 < RADIUS)] = 2
    return labels


def criteria(labels: np.ndarray, level: str = "mid") -> FailureCriteria:
    return FailureCriteria.for_heart(TrueHeart.from_labels(labels, level), SPACING_MM)


def between(first_deg: float, last_deg: float) -> np.ndarray:
    """True in a sector, clockwise in the image from the column axis."""
    return (ANGLE_DEG - first_deg) % 360 < last_deg - first_deg


def measured(
    name: str, rows: dict[str, tuple[float, float | None, float | None, MemberMeasure]], subject: str = "1"
) -> MeasuredSlice:
    """A slice from validation Dice, U_pp, U_tot and measure of every member; one without U_pp is ineligible."""
    scores = tuple(
        MemberScore(member_id, validation, u_pp, u_tot, 100 if u_pp else 0, "" if u_pp else "the mask is empty")
        for member_id, (validation, u_pp, u_tot, _) in rows.items()
    )
    return MeasuredSlice(name, subject, "mid", scores, {member_id: row[3] for member_id, row in rows.items()})
