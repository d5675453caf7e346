"""Phantom slices, their curves and true flow: what the simulator makes, and beside other slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pool.phantom.region_curves import RegionCurves, region_curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pool.phantom.slices import LabelledSlices

MYOCARDIUM_COLOUR, LEFT_COLOUR, RIGHT_COLOUR = "#d62728", "#1f77b4", "#2ca02c"
STRIP_FRAMES = (1, 6, 11, 17, 28)
"""Frames of a strip: before the bolus, right, left, myocardium, late."""

GALLERY_FRAMES = (6, 11, 22)
"""Frames of the gallery's strips."""


def draw_slice(frame: np.ndarray, labels: np.ndarray | None, ax: Axes, brightest: float | None = None) -> Axes:
    """One frame `row col` with the outline of the myocardium, if labels are given."""
    ax.imshow(frame, cmap="gray", vmin=0.0, vmax=brightest or float(np.percentile(frame, 99.7)))
    if labels is not None and (labels == 1).any():
        ax.contour(labels == 1, [0.5], colors=[MYOCARDIUM_COLOUR], linewidths=0.7)
    ax.set_axis_off()
    return ax


def draw_strip(frames: np.ndarray, ax: Axes, at: Sequence[int] = STRIP_FRAMES, brightest: float = 0.7) -> Axes:
    """Some frames of `time row col` side by side; the same frames and grey scale for every series make them compare."""
    ax.imshow(np.concatenate([frames[t] for t in at], axis=1), cmap="gray", vmin=0.0, vmax=brightest)
    ax.set_axis_off()
    return ax


def draw_curves(curves: RegionCurves, ax: Axes) -> Axes:
    """Mean signals of both cavities and the myocardium by frame."""
    for name, curve, colour in (
        ("RV", curves.right, RIGHT_COLOUR),
        ("LV", curves.left, LEFT_COLOUR),
        ("myocardium", curves.myocardium, MYOCARDIUM_COLOUR),
    ):
        if curve is not None:
            ax.plot(curve, color=colour, label=name, linewidth=1.2)
    ax.set_xlabel("frame")
    ax.set_ylabel("signal")
    ax.set_ylim(0, 1)
    ax.legend(fontsize=6, frameon=False)
    return ax


def draw_flow(mbf_ml_min_g: np.ndarray, ax: Axes, highest: float = 4.0) -> Axes:
    """True flow `row col` [mL/min/g], nothing where it is 0."""
    ax.imshow(np.ma.masked_equal(mbf_ml_min_g, 0), cmap="turbo", vmin=0, vmax=highest)
    ax.set_axis_off()
    return ax


def preset_gallery(made: Mapping[str, LabelledSlices]) -> Figure:
    """A row a preset: strips of base, mid and apex of its first heart, their curves and the mid slice's flow."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 1.3 * len(made) + 0.3), layout="constrained")
    grid = figure.subplots(len(made), 5, squeeze=False, width_ratios=[3, 3, 3, 1.6, 1])
    for row, (axes, (name, slices)) in enumerate(zip(grid, made.items())):
        frames, labels = slices.frames.cpu().numpy(), slices.labels.cpu().numpy()
        for i in range(min(3, len(frames))):
            draw_strip(frames[i], axes[i], GALLERY_FRAMES).set_title(f"{name} {slices.level_names[i]}", fontsize=7)
        middle = min(1, len(frames) - 1)
        curves = draw_curves(region_curves(frames[middle], labels[middle]), axes[3])
        curves.tick_params(labelsize=6, labelbottom=row + 1 == len(made))
        curves.set_ylabel("signal", fontsize=7)
        curves.set_xlabel("frame" if row + 1 == len(made) else "", fontsize=7)
        if row and (legend := curves.get_legend()):
            legend.remove()
        draw_flow(slices.mbf_ml_min_g[middle].cpu().numpy(), axes[4]).set_title("mL/min/g", fontsize=7)
    return figure


def beside(others: Sequence[np.ndarray], phantoms: Sequence[np.ndarray]) -> Figure:
    """Slices `time row col` of another source (left) and of the phantom (right), at the same frames and grey scale."""
    from matplotlib.figure import Figure

    n_rows = max(len(others), len(phantoms), 1)
    figure = Figure(figsize=(13, 1.35 * n_rows), layout="constrained")
    grid = figure.subplots(n_rows, 2, squeeze=False)
    for column, series in enumerate((others, phantoms)):
        for row in range(n_rows):
            if row < len(series):
                draw_strip(series[row], grid[row, column])
            else:
                grid[row, column].set_axis_off()
    return figure
