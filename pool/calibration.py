"""From a member's score to the Dice that can be expected of it: what makes scores of different kinds comparable.

U_pp of patches, MCD Uncertainty of dropout and of latent vectors are different quantities, and two networks of one kind
need not mean the same by the same number. None is compared raw: each member learns, on images whose truth is known,
which Dice its score went with, and the expected Dice are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from pool.errors import SettingsError

FEWEST_IMAGES = 20
"""Fewer would teach a member more about them than about itself."""
MOST_KNOTS = 12


@dataclass(frozen=True)
class Calibration:
    """A falling curve: the higher the score, the lower the expected Dice.

    Raises:
        SettingsError: knots that are not finite, do not rise in score, rise in Dice or leave [0, 1].
    """

    score: str
    """Name of the score, such as `mcd_uncertainty`."""
    knots: tuple[tuple[float, float], ...]
    """Score and expected Dice, by rising score; linear between, constant beyond."""
    n_images: int
    """Images it was learned from."""
    residual_sd: float
    """Standard deviation of Dice about the curve on them."""
    data_sha256: str
    """Hash of the images and their labels."""
    n_trials: int | None = None
    """Trials behind each score, of which MCD Uncertainty grows; None of a score that is of no trials."""

    def __post_init__(self) -> None:
        scores, dices = ([knot[i] for knot in self.knots] for i in (0, 1))
        rising = all(b > a for a, b in pairwise(scores))
        falling = all(b <= a for a, b in pairwise(dices))
        if not self.knots or not all(map(math.isfinite, (*scores, *dices))) or not rising or not falling:
            rule = "knots must be finite, rise in score and fall in Dice"
            raise SettingsError(f"calibration of {self.score}", rule, str(list(self.knots)[:4]))
        if min(dices) < 0 or max(dices) > 1:
            raise SettingsError(f"calibration of {self.score}", "Dice lies in [0, 1]", f"{min(dices)} to {max(dices)}")

    def expected_dice(self, score: float) -> float:
        """The Dice that went with such a score."""
        scores, dices = zip(*self.knots)
        return float(np.interp(score, scores, dices))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return vars(self) | {"knots": [list(knot) for knot in self.knots]}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Calibration:
        """From JSON fields; unknown ones are refused.

        Raises:
            SettingsError: missing or unknown fields.
        """
        try:
            knots = tuple((float(score), float(dice)) for score, dice in fields["knots"])
            return cls(**{**fields, "knots": knots})
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError("calibration", "has missing or unknown fields", str(error)) from error

    @classmethod
    def learn(
        cls,
        score: str,
        scores: Sequence[float],
        dices: Sequence[float],
        data_sha256: str,
        n_trials: int | None = None,
    ) -> Calibration:
        """The falling curve nearest to the images in least squares (isotonic regression), at a few knots.

        The images, by rising score, are cut into as many groups as there are knots; a knot is the mean score of a group
        and the curve's mean over it.

        Args:
            score: its name.
            scores, dices: one an image, all with an outline.
            data_sha256: of the images.
            n_trials: behind each score, if there are trials.

        Raises:
            SettingsError: too few images, or values that are not finite.
        """
        x, y = np.asarray(scores, dtype=float), np.asarray(dices, dtype=float)
        if len(x) < FEWEST_IMAGES or len(x) != len(y) or not (np.isfinite(x).all() and np.isfinite(y).all()):
            rule = f"needs finite scores and Dice of at least {FEWEST_IMAGES} images"
            raise SettingsError(f"calibration of {score}", rule, f"{len(x)} and {len(y)}")
        order = np.argsort(x, kind="stable")
        curve = isotonic_regression(y[order], increasing=False).x
        groups = np.array_split(np.arange(len(x)), min(MOST_KNOTS, len(x) // 5))
        knots: list[tuple[float, float]] = []
        for group in groups:
            at, value = float(x[order][group].mean()), float(np.clip(curve[group].mean(), 0.0, 1.0))
            if not knots or at > knots[-1][0]:
                knots.append((at, min(value, knots[-1][1]) if knots else value))
        found = cls(score, tuple(knots), len(x), 0.0, data_sha256, n_trials)
        left = [dice - found.expected_dice(value) for value, dice in zip(x, y)]
        return replace(found, residual_sd=float(np.std(left)))
