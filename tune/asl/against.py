"""Two members on the same test images: whether they are uncertain about the same ones."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pool.errors import SettingsError, UnreadableFileError
from pool.evaluation.regression import Regression, regression
from tune.asl.evaluate import AslEvaluation
from tune.asl.report import IMAGES


@dataclass(frozen=True)
class Against:
    """This member against that of an earlier evaluation."""

    folder: str
    """Name of the earlier evaluation's folder."""
    mcd_uncertainty: Regression
    """Of this member on that of the other, image by image: R2 of 0.002 for the paper's two kinds of network."""
    dice_difference: float
    """Mean Dice of this member less that of the other over the same images."""

    def in_words(self) -> str:
        """One line."""
        found = self.mcd_uncertainty
        agree = f"R2 {found.r_squared:.3f} over {found.n} images (paper, dropout and probabilistic: 0.002)"
        return f"MCD Uncertainty of this member and that of {self.folder}: {agree}; Dice {self.dice_difference:+.3f}"


def against(evaluation: AslEvaluation, other_dir: Path) -> Against:
    """Compare with an earlier evaluation of the same images.

    Args:
        evaluation: of this member.
        other_dir: folder of the other's evaluation.

    Raises:
        UnreadableFileError: the folder holds no table of images.
        SettingsError: other test images, or scores that do not vary.
    """
    others = read_images(other_dir)
    mine = {(item.row.study, item.row.kind): item.row for item in evaluation.images}
    if len(mine) != len(evaluation.images) or mine.keys() != others.keys():
        rule = "must be of the same test images, one pair a study"
        remedy = "Give both evaluations the same --phantom, --studies, --seed and --pairs 1."
        raise SettingsError(f"evaluation {other_dir.name}", rule, f"{len(others)} and {len(evaluation.images)}", remedy)
    pairs = [(mine[key].mcd_uncertainty, others[key][1]) for key in mine]
    scored = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
    found = regression([ours for ours, _ in scored], [theirs for _, theirs in scored])
    difference = float(np.mean([mine[key].dice - others[key][0] for key in mine]))
    return Against(other_dir.name, found, difference)


def read_images(folder: Path) -> dict[tuple[str, str], tuple[float, float | None]]:
    """Dice and MCD Uncertainty by study and kind, from an evaluation's table.

    Raises:
        UnreadableFileError: no such table, or one without its columns.
    """
    try:
        with (folder / IMAGES).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {
            (row["study"], row["kind"]): (
                float(row["dice"]),
                float(row["mcd_uncertainty"]) if row["mcd_uncertainty"] else None,
            )
            for row in rows
        }
    except (OSError, KeyError, ValueError) as error:
        rule = f"must hold an ASL evaluation's {IMAGES}"
        raise UnreadableFileError(f"folder {folder.name}", rule, type(error).__name__) from error
