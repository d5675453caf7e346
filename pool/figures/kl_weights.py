"""A probabilistic U-Net by the weight of the divergence in its loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pool.figures.agreement import LINE_COLOUR, POINT_COLOUR
from pool.figures.evaluation import number_log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_fit(weights: Sequence[float], losses: Sequence[float], divergences: Sequence[float], ax: Axes) -> Axes:
    """Loss without the divergence on the left axis, divergence on the right one, which is logarithmic.

    Args:
        weights: of the divergence.
        losses, divergences: one a weight.
        ax: axes.
    """
    ax.plot(weights, losses, color=LINE_COLOUR, marker="o", markersize=4)
    ax.set_ylabel("loss without the divergence", color=LINE_COLOUR)
    right = ax.twinx()
    right.plot(weights, divergences, color=POINT_COLOUR, marker="s", markersize=4)
    right.set_yscale("log")
    right.set_ylabel("divergence of posterior from prior (nat)", color=POINT_COLOUR)
    return _by_weight(ax)


def draw_accuracy(
    weights: Sequence[float], dices: Sequence[tuple[float, float]], agreement: Sequence[float | None], ax: Axes
) -> Axes:
    """Mean Dice on the left axis; R2 of MCD Uncertainty on Dice Uncertainty on the right one.

    Args:
        weights: of the divergence.
        dices: mean and standard deviation over the test images, one a weight.
        agreement: R2, likewise; None where there is none.
        ax: axes.
    """
    ax.plot(weights, [mean for mean, _ in dices], color=LINE_COLOUR, marker="o", markersize=4)
    ax.set_ylabel("mean Dice", color=LINE_COLOUR)
    right = ax.twinx()
    told = [(weight, found) for weight, found in zip(weights, agreement) if found is not None]
    if told:
        right.plot(*zip(*told), color=POINT_COLOUR, marker="s", markersize=4)
    right.set_ylim(0, 1)
    right.set_ylabel("R² of MCD Uncertainty on Dice Uncertainty", color=POINT_COLOUR)
    return _by_weight(ax)


def _by_weight(ax: Axes) -> Axes:
    ax.set_xscale("log")
    number_log_axis(ax.xaxis)
    ax.set_xlabel("lambda, weight of the divergence")
    return ax
