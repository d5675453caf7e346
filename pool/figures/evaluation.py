"""How good each rule was, whether uncertainty tells, and an outline beside the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pool.evaluation.summary import EvaluatedSet
from pool.shapes import Map, Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

TRUTH_COLOUR, OUTLINE_COLOUR = "#64d2ff", "#ffb000"
CHOSEN_COLOUR, OTHERS_COLOUR, FAILED_COLOUR = "#d1495b", "#8a8f98", "#d1495b"
LEAST_WINDOW_PX = 48
SHORT_RANGE = 4.0
"""Of a logarithmic axis: greatest over least value below which 1-2-5 leaves it with one number or none."""


def draw_dice_by_rule(evaluated: EvaluatedSet, rules: Sequence[str], ax: Axes) -> Axes:
    """Dice of every slice under each rule, with median and quartiles; failed slices are crosses."""
    values = {rule: evaluated.of_rule(rule) for rule in rules}
    for at, found in enumerate(values.values()):
        dices = np.array([outcome.dice for outcome in found])
        failed = np.array([outcome.failed == 1 for outcome in found])
        beside = at + 0.18 * np.sin(np.arange(len(dices)) * 2.4)  # spread out, the same in every figure
        ax.scatter(beside[~failed], dices[~failed], s=14, color=OTHERS_COLOUR, alpha=0.8, linewidths=0, zorder=3)
        ax.scatter(beside[failed], dices[failed], s=18, color=FAILED_COLOUR, marker="x", linewidths=0.9, zorder=3)
    ax.boxplot(
        [[outcome.dice for outcome in found] for found in values.values()],
        positions=range(len(values)),
        widths=0.55,
        showfliers=False,
        boxprops={"linewidth": 0.8},
        whiskerprops={"linewidth": 0.8},
        capprops={"linewidth": 0.8},
        medianprops={"color": "black", "linewidth": 1.4, "zorder": 4},
    )
    ax.set_xticks(range(len(values)), list(values), rotation=30, ha="right", fontsize=8)
    ax.set_ylabel("Dice")
    return _open(ax)


def draw_uncertainty_and_dice(evaluated: EvaluatedSet, ax: Axes) -> Axes:
    """U_pp against Dice of every eligible member on every slice; the member chosen by `min-u_pp` stands out."""
    points = [
        (score.u_pp, measured.measures[score.member_id].dice, outcomes["min-u_pp"].chosen == score.member_id)
        for measured, outcomes in zip(evaluated.slices, evaluated.outcomes)
        for score in measured.scores
        if not score.ineligible and score.u_pp is not None and score.u_pp > 0
    ]
    for chosen, colour, name, size in (
        (False, OTHERS_COLOUR, "other members", 8),
        (True, CHOSEN_COLOUR, "chosen by min-u_pp", 16),
    ):
        shown = [point for point in points if point[2] == chosen]
        x, y = [point[0] for point in shown], [point[1] for point in shown]
        ax.scatter(x, y, s=size, color=colour, alpha=0.6, linewidths=0, label=name)
    if points:
        ax.set_xscale("log")
        number_log_axis(ax.xaxis)
    ax.set_xlabel("U_pp")
    ax.set_ylabel("Dice")
    ax.legend(fontsize=7, frameon=False, loc="lower left")
    return _open(ax)


def number_log_axis(axis: Axis) -> None:
    """Numbers on a logarithmic axis, as many as have room: even steps over a short range, 1-2-5 over a long one."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    short = high < SHORT_RANGE * low
    axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]) if short else LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(LogLocator(subs="all"))
    axis.set_minor_formatter(NullFormatter())


def draw_outline(frame: Map, truth: Mask, mask: Mask, ax: Axes) -> Axes:
    """A frame with the true outline and the one to judge, shown about the true heart."""
    ax.imshow(frame, cmap="gray", vmin=0.0, vmax=float(np.percentile(frame, 99.5)))
    for shown, colour in ((truth, TRUTH_COLOUR), (mask, OUTLINE_COLOUR)):
        if shown.any():
            ax.contour(shown, [0.5], colors=[colour], linewidths=1.1)
    rows, cols = np.nonzero(truth | mask)
    top, bottom, left, right = (int(edge) for edge in (rows.min(), rows.max(), cols.min(), cols.max()))
    half = max(LEAST_WINDOW_PX, bottom - top + 16, right - left + 16) / 2
    row, col = (top + bottom) / 2, (left + right) / 2
    ax.set_xlim(max(col - half, -0.5), min(col + half, frame.shape[1] - 0.5))
    ax.set_ylim(min(row + half, frame.shape[0] - 0.5), max(row - half, -0.5))
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def name_outlines(ax: Axes, outlined: str) -> Axes:
    """Say which colour is whose."""
    from matplotlib.lines import Line2D

    names: Mapping[str, str] = {"truth": TRUTH_COLOUR, outlined: OUTLINE_COLOUR}
    lines = [Line2D([], [], color=colour, label=name) for name, colour in names.items()]
    ax.legend(handles=lines, fontsize=7, loc="lower left", framealpha=0.6)
    return ax


def _open(ax: Axes) -> Axes:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax
