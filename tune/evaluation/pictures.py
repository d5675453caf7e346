"""Figures of an evaluation, written to its folder. Only phantom pixels may leave it: see `MemberPictures`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pool.evaluation.rules import RULE_NAMES
from pool.figures.evaluation import (
    draw_dice_by_rule,
    draw_outline,
    draw_uncertainty_and_dice,
    name_outlines,
    number_log_axis,
)
from pool.results import NOT_FOR_DIAGNOSIS
from pool.shapes import MYOCARDIUM, Map, Mask
from tune.evaluation.evaluate import Evaluation, SetResult
from tune.evaluation.report import write_whole
from tune.evaluation.sources import TrueSlice

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUMBERS_FIGURES = ("dice-by-rule.png", "uncertainty-and-dice.png")
"""Figures without pixels of any image."""
RULE = "min-u_pp"


def write_pictures(evaluation: Evaluation, out_dir: Path) -> None:
    """Write both figures of numbers, and `outlines-SET.png` for every set.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_whole(out_dir / NUMBERS_FIGURES[0], _png(dice_figure(evaluation)))
    write_whole(out_dir / NUMBERS_FIGURES[1], _png(uncertainty_figure(evaluation)))
    for item in evaluation.sets:
        write_whole(out_dir / f"outlines-{item.evaluated.name}.png", _png(outlines_figure(item)))


def dice_figure(evaluation: Evaluation) -> Figure:
    """Dice by rule, a panel a set."""
    figure, panels = _panels(len(evaluation.sets), (4.2, 4.0))
    for item, ax in zip(evaluation.sets, panels):
        draw_dice_by_rule(item.evaluated, RULE_NAMES, ax).set_title(_title(item), fontsize=9)
        ax.set_ylim(_dice_range(evaluation))
    figure.supxlabel("A point is a slice, a cross one whose outline failed; boxes show quartiles.", fontsize=8)
    return figure


def uncertainty_figure(evaluation: Evaluation) -> Figure:
    """U_pp against Dice, a panel a set."""
    figure, panels = _panels(len(evaluation.sets), (4.2, 3.8))
    for item, ax in zip(evaluation.sets, panels):
        draw_uncertainty_and_dice(item.evaluated, ax).set_title(_title(item), fontsize=9)
        ax.set_ylim(_dice_range(evaluation))
    _share_columns(panels)
    return figure


def outlines_figure(item: SetResult) -> Figure:
    """The slices with the least, the middle and the best Dice of the member chosen by `min-u_pp`."""
    outcomes = item.evaluated.of_rule(RULE)
    order = np.argsort([outcome.dice for outcome in outcomes], kind="stable")
    shown = {"least": int(order[0]), "middle": int(order[len(order) // 2]), "best": int(order[-1])}
    figure, panels = _panels(len(shown), (3.6, 3.9))
    for (name, number), ax in zip(shown.items(), panels):
        outcome = outcomes[number]
        true = item.true_slice(number)
        mask = item.masks[number][outcome.chosen] if outcome.chosen is not None else np.zeros_like(true.labels, bool)
        draw_outline(brightest_frame(true), true.labels == MYOCARDIUM, mask, ax)
        failed = ", failed" if outcome.failed else ""
        title = f"{name}: {item.evaluated.slices[number].name}\n{outcome.chosen or 'none'}, Dice {outcome.dice:.3f}"
        ax.set_title(f"{title}{failed}", fontsize=9)
    name_outlines(panels[0], f"chosen by {RULE}")
    figure.supxlabel(f"{item.evaluated.name}. {NOT_FOR_DIAGNOSIS}", fontsize=8)
    return figure


class MemberPictures:
    """One outline a member, all of the same slice: the phantom slice on which the members' Dice differ most.

    Args:
        evaluation: may hold sets of real slices; of those nothing is drawn here, since pictures of a member are sent to
            MLflow.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        self._item = next((item for item in evaluation.sets if item.source.simulated), None)
        if self._item is not None:
            spread = [np.std([m.dice for m in s.measures.values()]) for s in self._item.evaluated.slices]
            self._number = int(np.argmax(spread))
            self._true = self._item.true_slice(self._number)

    def png(self, member_id: str) -> bytes | None:
        """A member's outline of that slice; None where no set is simulated."""
        if self._item is None:
            return None
        figure, (ax,) = _panels(1, (3.9, 4.1))
        measure = self._item.evaluated.slices[self._number].measures[member_id]
        mask: Mask = self._item.masks[self._number][member_id]
        draw_outline(brightest_frame(self._true), self._true.labels == MYOCARDIUM, mask, ax)
        title = f"{self._item.evaluated.name} {self._true.name}\n{member_id}, Dice {measure.dice:.3f}"
        ax.set_title(f"{title}{', failed' if measure.failed else ''}", fontsize=9)
        name_outlines(ax, member_id)
        figure.supxlabel(NOT_FOR_DIAGNOSIS, fontsize=7)
        return _png(figure)


def brightest_frame(true: TrueSlice) -> Map:
    """The frame in which the heart is brightest, within its true outline."""
    inside = ndimage.binary_fill_holes(true.labels == MYOCARDIUM)
    return true.frames[int(true.frames[:, inside].mean(axis=1).argmax())]


def _title(item: SetResult) -> str:
    return f"{item.evaluated.name}: {item.evaluated.size_in_words}"


def _dice_range(evaluation: Evaluation) -> tuple[float, float]:
    """The same for every panel: from below the least Dice of any member to 1."""
    slices = [measured for item in evaluation.sets for measured in item.evaluated.slices]
    least = min(measure.dice for measured in slices for measure in measured.measures.values())
    return max(np.floor(10 * least) / 10, 0.0) - 0.02, 1.0


def _share_columns(panels: list[Axes]) -> None:
    """One range of uncertainty for all panels, so that sets compare; and numbers on the axis that suit it."""
    limits = [ax.get_xlim() for ax in panels if ax.get_xscale() == "log"]  # linear ones show no point
    for ax in panels:
        if limits and ax.get_xscale() == "log":
            ax.set_xlim(min(low for low, _ in limits), max(high for _, high in limits))
            number_log_axis(ax.xaxis)


def _panels(n: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * n, size[1]), layout="constrained")
    return figure, list(figure.subplots(1, n, squeeze=False)[0])


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()
