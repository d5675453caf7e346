"""Time of trials against their batch size, and that the score stays the same (Do et al. 2020, Figure S6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pool.figures.agreement import LINE_COLOUR, POINT_COLOUR
from pool.figures.evaluation import number_log_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_batch_times(
    sizes: Sequence[int], median_s: Sequence[float], spread_s: Sequence[tuple[float, float]], ax: Axes
) -> Axes:
    """Median time of all trials on an image, with the shortest and the longest.

    Args:
        sizes: trials in one forward pass.
        median_s: one a size [s].
        spread_s: shortest and longest, likewise.
        ax: axes.
    """
    below = [median - low for median, (low, _) in zip(median_s, spread_s)]
    above = [high - median for median, (_, high) in zip(median_s, spread_s)]
    ax.errorbar(sizes, median_s, (below, above), color=POINT_COLOUR, marker="o", markersize=4, capsize=2, linewidth=1.2)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("time of all trials (s)")
    return _by_size(ax)


def draw_batch_scores(sizes: Sequence[int], scores: Sequence[float | None], ax: Axes) -> Axes:
    """MCD Uncertainty by batch size, on an axis from 0; sizes without a score are left out.

    Args:
        sizes: trials in one forward pass.
        scores: one a size; None for an empty mask.
        ax: axes.
    """
    shown = [(size, score) for size, score in zip(sizes, scores) if score is not None]
    if shown:
        x, y = zip(*shown)
        ax.plot(x, y, color=LINE_COLOUR, marker="s", markersize=4, linewidth=1.2)
        ax.set_ylim(0, 1.2 * max(y))
    ax.set_ylabel("MCD Uncertainty")
    return _by_size(ax)


def _by_size(ax: Axes) -> Axes:
    ax.set_xscale("log")
    number_log_axis(ax.xaxis)
    ax.set_xlabel("trials in one forward pass")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
