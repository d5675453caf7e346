"""An ASL study at a glance: the mean control image with the outline, the uncertainty map, who was believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pool.asl.analysis import AslAnalysis
from pool.figures.evaluation import OUTLINE_COLOUR
from pool.figures.trials import MAP_RANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_asl_outline(analysis: AslAnalysis, ax: Axes) -> Axes:
    """The image with the chosen member's outline; without one the image alone."""
    low, high = (float(np.percentile(analysis.outlined, share)) for share in (0.5, 99.5))
    ax.imshow(analysis.outlined, cmap="gray", vmin=low, vmax=high)
    if analysis.mask.any():
        ax.contour(analysis.mask, [0.5], colors=[OUTLINE_COLOUR], linewidths=1.1)
    chosen = analysis.selection.chosen
    ax.set_title(f"mean control image, {chosen or 'no outline'}", fontsize=9)
    return _plain(ax)


def draw_asl_map(analysis: AslAnalysis, ax: Axes) -> Axes:
    """The chosen member's uncertainty map, with what its score says."""
    ax.set_facecolor("black")
    ax.imshow(analysis.uncertainty, cmap="inferno", vmin=MAP_RANGE[0], vmax=MAP_RANGE[1])
    found = next((s for s in analysis.selection.scores if s.member_id == analysis.selection.chosen), None)
    if found is not None:
        ax.set_title(f"{found.score_name} {found.score:.2f}, expected Dice {found.expected_dice:.2f}", fontsize=9)
    return _plain(ax)


def _plain(ax: Axes) -> Axes:
    ax.set_xticks([])
    ax.set_yticks([])
    return ax
