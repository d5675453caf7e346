"""Uncertainty of trials as the second paper shows it: scores, outlines with maps, numbers of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pool.evaluation.asl import ImageRow
from pool.evaluation.regression import Regression
from pool.figures.agreement import LINE_COLOUR, POINT_COLOUR
from pool.figures.evaluation import draw_outline
from pool.shapes import Map, Mask
from pool.trials.bootstrap import TrialsCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KIND_COLOURS = {"control": POINT_COLOUR, "labelled": "#edae49"}
MAP_RANGE = (0.0, 0.5)
"""The range that a standard deviation of probabilities can have."""


def draw_uncertainties(rows: Sequence[ImageRow], found: Regression, ax: Axes) -> Axes:
    """MCD Uncertainty against Dice Uncertainty, a point an image, with the regression (Figure 5A)."""
    scored = [row for row in rows if row.mcd_uncertainty is not None]
    for kind, colour in KIND_COLOURS.items():
        shown = [row for row in scored if row.kind == kind]
        if shown:
            x, y = [row.dice_uncertainty for row in shown], [row.mcd_uncertainty or 0.0 for row in shown]
            ax.scatter(x, y, s=12, color=colour, alpha=0.8, linewidths=0, label=kind)
    _line(found, [row.dice_uncertainty for row in scored], ax)
    ax.set_xlabel("Dice Uncertainty")
    ax.set_ylabel("MCD Uncertainty")
    ax.legend(fontsize=7, frameon=False, loc="lower right")
    return _open(ax)


def draw_dice_and_uncertainty(rows: Sequence[ImageRow], found: Regression, ax: Axes) -> Axes:
    """Dice against MCD Uncertainty, a point an image: whether the score tells a bad outline."""
    scored = [row for row in rows if row.mcd_uncertainty is not None]
    for kind, colour in KIND_COLOURS.items():
        shown = [row for row in scored if row.kind == kind]
        x, y = [row.mcd_uncertainty or 0.0 for row in shown], [row.dice for row in shown]
        ax.scatter(x, y, s=12, color=colour, alpha=0.8, linewidths=0)
    _line(found, [row.mcd_uncertainty or 0.0 for row in scored], ax)
    ax.set_xlabel("MCD Uncertainty")
    ax.set_ylabel("Dice")
    return _open(ax)


def draw_dice_and_contrast(rows: Sequence[ImageRow], found: Regression, ax: Axes) -> Axes:
    """Dice against the contrast-to-noise ratio, a point an image that has one."""
    told = [row for row in rows if np.isfinite(row.contrast)]
    for kind, colour in KIND_COLOURS.items():
        shown = [row for row in told if row.kind == kind]
        x, y = [row.contrast for row in shown], [row.dice for row in shown]
        ax.scatter(x, y, s=12, color=colour, alpha=0.8, linewidths=0, label=kind)
    _line(found, [row.contrast for row in told], ax)
    ax.set_xlabel("contrast-to-noise ratio")
    ax.set_ylabel("Dice")
    ax.legend(fontsize=7, frameon=False, loc="lower right")
    return _open(ax)


def draw_noise_and_uncertainty(pairs: Sequence[tuple[float, float]], found: Regression, ax: Axes) -> Axes:
    """MCD Uncertainty against physiological noise, a point a study (Figure S5)."""
    noise, uncertainty = zip(*pairs)
    ax.scatter(noise, uncertainty, s=12, color=POINT_COLOUR, alpha=0.8, linewidths=0)
    _line(found, noise, ax)
    ax.set_xlabel("physiological noise (mL/min/g)")
    ax.set_ylabel("MCD Uncertainty")
    return _open(ax)


def draw_flows(automatic: Sequence[float], reference: Sequence[float], found: Regression, ax: Axes) -> Axes:
    """Flow of segments under both outlines, with identity and regression (Figure 3)."""
    values = [*automatic, *reference]
    low, high = min(0.0, *values), 1.05 * max(values)
    ax.plot([low, high], [low, high], color="#b0b4ba", linewidth=0.8, linestyle="--")
    ax.scatter(reference, automatic, s=10, color=POINT_COLOUR, alpha=0.7, linewidths=0)
    _line(found, reference, ax, f"\nconcordance {found.concordance:.2f}")
    ax.set_xlabel("MBF, reference outline (mL/min/g)")
    ax.set_ylabel("MBF, automatic outline (mL/min/g)")
    return _open(ax)


def draw_answer(pixels: Map, truth: Mask, mask: Mask, ax: Axes) -> Axes:
    """An image with true and automatic outline about the heart; of signed images the darkest is black."""
    return draw_outline(pixels - float(np.percentile(pixels, 0.5)), truth, mask, ax)


def draw_map(uncertainty: Map, like: Axes, ax: Axes) -> Axes:
    """An uncertainty map in the window of another panel."""
    ax.imshow(uncertainty, cmap="inferno", vmin=MAP_RANGE[0], vmax=MAP_RANGE[1])
    ax.set_xlim(like.get_xlim())
    ax.set_ylim(like.get_ylim())
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def draw_trials_curve(curve: TrialsCurve, ax: Axes) -> Axes:
    """Both scores over those of all trials against the number of trials, mean and one standard deviation (Figure 6)."""
    for name, mean, sd, colour in (
        ("MCD Uncertainty", curve.mcd_mean, curve.mcd_sd, POINT_COLOUR),
        ("Dice Uncertainty", curve.dice_mean, curve.dice_sd, LINE_COLOUR),
    ):
        middle, half = np.array(mean), np.array(sd)
        ax.fill_between(curve.n_trials, middle - half, middle + half, color=colour, alpha=0.2, linewidth=0)
        ax.plot(curve.n_trials, middle, color=colour, linewidth=1.2, marker="o", markersize=3, label=name)
    ax.axhline(1.0, color="#b0b4ba", linewidth=0.8, linestyle="--")
    ax.set_xscale("log")
    ax.set_xlabel(f"trials, resampled {curve.n_repeats} times from {curve.n_all}")
    ax.set_ylabel("score over that of all trials")
    ax.legend(fontsize=7, frameon=False)
    return _open(ax)


def _line(found: Regression, x: Sequence[float], ax: Axes, more: str = "") -> None:
    ends = np.array([min(x), max(x)])
    ax.plot(ends, found.intercept + found.slope * ends, color=LINE_COLOUR, linewidth=1.2)
    text = f"y = {found.slope:.2f} x {found.intercept:+.2f}\nR² = {found.r_squared:.2f}, n = {found.n}{more}"
    ax.text(0.04, 0.96, text, transform=ax.transAxes, va="top", fontsize=8)


def _open(ax: Axes) -> Axes:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
