"""False positives and negatives by the loss that a network was trained with, as the second paper's Figures 7 and S8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pool.evaluation.paired_change import Change
from pool.evaluation.partial_volume import OutlineErrors
from pool.figures.agreement import LINE_COLOUR, POINT_COLOUR

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("--", ":", "-.", (0, (1, 3)))
HEADROOM = 1.7
"""Of the axis above the betas' errors, for the legend; a network that learned nothing would flatten all others."""


def draw_errors(
    betas: Sequence[float],
    errors: Sequence[OutlineErrors],
    intervals: tuple[Sequence[tuple[float, float]], Sequence[tuple[float, float]]],
    others: Sequence[OutlineErrors],
    ax: Axes,
) -> Axes:
    """False positives and negatives an image against beta; levels of other losses and outlines as lines.

    A level far above those of the betas is told in the legend.

    Args:
        betas: weight of false negatives.
        errors: one a beta.
        intervals: of false positives and of false negatives, one a beta: 95 % over the test subjects, shaded.
        others: at most four.
        ax: axes.
    """
    positive, negative = [e.n_false_positive for e in errors], [e.n_false_negative for e in errors]
    for within, colour in zip(intervals, (LINE_COLOUR, POINT_COLOUR)):
        low, high = zip(*within)
        ax.fill_between(betas, low, high, color=colour, alpha=0.2, linewidth=0)
    ax.plot(betas, positive, color=LINE_COLOUR, marker="o", markersize=4, label="false positives")
    ax.plot(betas, negative, color=POINT_COLOUR, marker="s", markersize=4, label="false negatives")
    top = HEADROOM * max(*positive, *negative)
    for other, dashes in zip(others, DASHES):
        levels = (other.n_false_positive, other.n_false_negative)
        for value, colour in zip(levels, (LINE_COLOUR, POINT_COLOUR)):
            ax.axhline(value, color=colour, linewidth=0.9, linestyle=dashes)
        above = [f"{value:.0f}" for value in levels if value > top]
        name = f"{other.name}, above: {', '.join(above)}" if above else other.name
        ax.plot([], [], color="#55585e", linewidth=0.9, linestyle=dashes, label=name)
    ax.set_ylim(0, top)
    ax.set_xlabel("beta, weight of false negatives")
    ax.set_ylabel("pixels an image")
    ax.legend(fontsize=7, frameon=False, loc="upper left")
    upper = ax.secondary_xaxis("top", functions=(_rest, _rest))
    upper.set_xlabel("1 - beta: reads as the paper's Figure 7", fontsize=8)
    return ax


def draw_steps(
    betas: Sequence[tuple[float, float]], positive: Sequence[Change], negative: Sequence[Change], ax: Axes
) -> Axes:
    """What every step of beta changes, with the 95 % interval over the test subjects.

    Args:
        betas: before and after each step.
        positive, negative: change of false positives and of false negatives [pixels an image].
        ax: axes.
    """
    ax.axhline(0, color="#b0b4ba", linewidth=0.8, linestyle="--")
    shown = (
        ("false positives", positive, LINE_COLOUR, "o", -0.08),
        ("false negatives", negative, POINT_COLOUR, "s", 0.08),
    )
    for name, changes, colour, marker, aside in shown:
        x = [i + aside for i in range(len(betas))]
        means = [change.mean for change in changes]
        below = [change.mean - change.low for change in changes]
        above = [change.high - change.mean for change in changes]
        ax.errorbar(x, means, (below, above), color=colour, fmt=marker, markersize=4, capsize=2, label=name)
    ax.set_xticks(range(len(betas)), [f"{a:g} to {b:g}" for a, b in betas], rotation=60, fontsize=7)
    ax.set_xlabel("step of beta")
    ax.set_ylabel("change (pixels an image)")
    ax.set_title("95 % intervals over subjects", fontsize=9)
    ax.legend(fontsize=7, frameon=False)
    return ax


def draw_balance(betas: Sequence[float], errors: Sequence[OutlineErrors], ax: Axes) -> Axes:
    """False positives less false negatives, and Dice, against beta (Figure S8)."""
    ax.axhline(0, color="#b0b4ba", linewidth=0.8, linestyle="--")
    ax.plot(betas, [e.balance for e in errors], color=LINE_COLOUR, marker="o", markersize=4)
    ax.set_xlabel("beta, weight of false negatives")
    ax.set_ylabel("positives less negatives (pixels an image)", color=LINE_COLOUR)
    right = ax.twinx()
    right.plot(betas, [e.dice[0] for e in errors], color=POINT_COLOUR, marker="s", markersize=4)
    right.set_ylabel("mean Dice", color=POINT_COLOUR)
    return ax


def _rest(beta: Any) -> Any:
    return 1 - beta
