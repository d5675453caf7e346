"""Blood flow as drawings: the bullseye of 16 segments, maps, and curves with their fits."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pool.perfusion.measure import FlowCurves
from pool.perfusion.results import SliceFlow, StudyFlow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RINGS = {"basal": (1, 6, 3.0), "mid": (7, 6, 2.0), "apical": (13, 4, 1.0)}
"""First segment, number of segments and outer radius of each ring."""
TOP_REST, TOP_STRESS = 2.0, 5.0
"""Tops of the colour scale [mL/min/g]."""
NO_FLOW_COLOUR = "#d0d3d8"
COLOURS = "viridis"


def top_of_scale(flow: StudyFlow) -> float:
    """Top of the colour scale [mL/min/g], one of two, so that figures compare."""
    values = [s.mbf_ml_min_g for s in flow.segments if s.mbf_ml_min_g is not None]
    return TOP_REST if not values or max(values) <= TOP_REST else TOP_STRESS


def draw_bullseye(values: Mapping[int, float | None], top: float, ax: Axes, digits: int = 2) -> Axes:
    """Values of the AHA segments as a bullseye, base outside, anterior at the top.

    Args:
        values: by number of the segment, 1 to 16; None or absent is grey.
        top: of the colour scale, which begins at 0.
        ax: square axes.
        digits: of the numbers written.
    """
    import matplotlib as mpl
    from matplotlib.patches import Wedge

    colours = mpl.colormaps[COLOURS]
    for first, n, radius in RINGS.values():
        width = 360.0 / n
        for k in range(n):
            middle = 90.0 + k * width  # anterior at the top, then counterclockwise over the septum
            value = values.get(first + k)
            colour = NO_FLOW_COLOUR if value is None else colours(min(max(value / top, 0.0), 1.0))
            ax.add_patch(
                Wedge((0, 0), radius, middle - width / 2, middle + width / 2, width=1.0, fc=colour, ec="white", lw=1.2)
            )
            at, angle = radius - 0.5, math.radians(middle)
            text = "-" if value is None else f"{value:.{digits}f}"
            dark = value is None or value > 0.6 * top
            x, y = at * math.cos(angle), at * math.sin(angle)
            ax.text(x, y, text, ha="center", va="center", fontsize=8, color="black" if dark else "white")
    ax.set_xlim(-3.05, 3.05)
    ax.set_ylim(-3.05, 3.05)
    ax.set_aspect("equal")
    ax.axis("off")
    return ax


def draw_flow_map(item: SliceFlow, top: float, ax: Axes) -> Axes:
    """Flow of every pixel of a slice about its myocardium; failed pixels are grey, a slice without any stays black."""
    rows, cols = np.nonzero(item.segment > 0)
    ax.set_facecolor("black")
    ax.set_xticks([])
    ax.set_yticks([])
    if len(rows) == 0:
        return ax
    grey = np.where(item.failed, 0.5, np.nan)
    ax.imshow(grey, cmap="gray", vmin=0, vmax=1)
    ax.imshow(item.mbf, cmap=COLOURS, vmin=0, vmax=top)
    ax.set_xlim(cols.min() - 8, cols.max() + 8)
    ax.set_ylim(rows.max() + 8, rows.min() - 8)
    for point, name in zip(item.insertion_px or (), ("ant", "inf")):
        ax.plot(point[1], point[0], "+", color="white", markersize=7)
        ax.annotate(name, (point[1], point[0]), color="white", fontsize=6, xytext=(3, 3), textcoords="offset points")
    return ax


def draw_input(curves: FlowCurves, ax: Axes) -> Axes:
    """The input function: samples and what the fit used between them."""
    function = curves.arterial.function
    times = function.start_s + function.step_s * np.arange(len(function.values_mm))
    ax.plot(times, function.values_mm.numpy(), color="#d1495b", linewidth=1.2)
    ax.plot(curves.arterial.times_s, curves.arterial.samples_mm, ".", color="#d1495b", markersize=4)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("LV blood (mmol/L)")
    return ax


def draw_fits(curves: FlowCurves, flow: StudyFlow, numbers: tuple[int, ...], ax: Axes) -> Axes:
    """Curves of some segments with their fits."""
    for k, item in enumerate(flow.segments):
        if item.number not in numbers:
            continue
        label = f"{item.number} {item.name}"
        (dots,) = ax.plot(curves.measured.times_s[k], curves.measured.values_mm[k], ".", markersize=4, label=label)
        ax.plot(curves.measured.times_s[k], curves.fit.fitted_mm[k], color=dots.get_color(), linewidth=1.0)
    ax.set_xlabel("time (s)")
    ax.set_ylabel("tissue (mmol/L)")
    ax.legend(fontsize=7, frameon=False)
    return ax


def flow_figure(flow: StudyFlow) -> Figure:
    """Bullseye and maps of a study."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    top = top_of_scale(flow)
    figure = Figure(figsize=(3.2 * (1 + len(flow.slices)), 3.6), layout="constrained")
    axes = figure.subplots(1, 1 + len(flow.slices), squeeze=False)[0]
    values: dict[int, list[float]] = {}
    for item in flow.segments:
        if item.mbf_ml_min_g is not None:
            values.setdefault(item.number, []).append(item.mbf_ml_min_g)
    draw_bullseye({number: float(np.mean(found)) for number, found in values.items()}, top, axes[0])
    axes[0].set_title(f"MBF (mL/min/g){', ' + flow.state if flow.state else ''}", fontsize=10)
    for shown, ax in zip(flow.slices, axes[1:]):
        draw_flow_map(shown, top, ax).set_title(f"{shown.name}, segments by {shown.orientation_from}", fontsize=9)
    scale = ScalarMappable(Normalize(0, top), COLOURS)
    figure.colorbar(scale, ax=axes[-1], shrink=0.8, label="mL/min/g")
    aif = flow.aif
    figure.supxlabel(
        f"input: {aif.source}, peak {aif.peak_mm:.1f} mmol/L, saturation {aif.saturation:.0%}."
        f"{' A single bolus: compare segments, values are no measurement.' if aif.doubtful else ''} Research use only, "
        "not for diagnosis.",
        fontsize=8,
    )
    return figure


def flow_png(flow: StudyFlow) -> bytes:
    """`flow_figure` as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(flow_figure(flow)).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()
