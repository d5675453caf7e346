"""What a user looks at first: per slice the peak frame with the outline, the U-map, and who was chosen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pool.analysis import SliceAnalysis, StudyAnalysis
from pool.selection import MemberScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

U_MAP_RANGE = (0.0, 0.5)
"""The range a standard deviation of probabilities can have; the same in every figure, so that figures compare."""
EPI_COLOUR, ENDO_COLOUR, OTHERS_COLOUR = "#ffb000", "#64d2ff", "#8a8f98"


def peak_frame(item: SliceAnalysis) -> int:
    """Index of the prepared frame in which the heart is brightest: inside the outline, or anywhere without one."""
    frames = item.prepared.frames
    inside = item.prepared.way_back.labels_from_native(ndimage.binary_fill_holes(item.mask).astype(np.uint8)) > 0
    return int((frames[:, inside] if inside.any() else frames.reshape(len(frames), -1)).mean(axis=1).argmax())


def draw_frame(item: SliceAnalysis, ax: Axes) -> Axes:
    """Peak frame of the crop, in native pixel coordinates, with endo- and epicardial contour."""
    frame = item.prepared.frames[peak_frame(item)]
    ax.imshow(frame, cmap="gray", vmin=0, vmax=float(np.percentile(frame, 99.5)), extent=_extent(item))
    _draw_contours(item, ax)
    return _plain(item, ax)


def draw_uncertainty(item: SliceAnalysis, ax: Axes) -> Axes:
    """U-map of the chosen member with its outline, in native pixel coordinates."""
    n_rows, n_cols = item.uncertainty.shape
    ax.set_facecolor("black")
    ax.imshow(
        item.uncertainty,
        cmap="inferno",
        vmin=U_MAP_RANGE[0],
        vmax=U_MAP_RANGE[1],
        extent=(-0.5, n_cols - 0.5, n_rows - 0.5, -0.5),
    )
    _draw_contours(item, ax)
    return _plain(item, ax)


def draw_scores(item: SliceAnalysis, ax: Axes) -> Axes:
    """U_pp of every member, best first; the chosen one marked, ineligible members counted.

    Members that left a race follow, hollow and with the number of patches of their estimate: theirs is another
    quantity.
    """
    scores = in_order(item.selection.scores)
    n_shown = min(len(scores), 10)
    shown = scores[:n_shown]
    colours = [EPI_COLOUR if score.member_id == item.selection.chosen else OTHERS_COLOUR for score in shown]
    full = [score.u_pp is not None or score.u_pp_estimate is None for score in shown]
    ax.barh(
        range(n_shown),
        [score.u_pp or score.u_pp_estimate or 0.0 for score in shown],
        color=[colour if swept else "none" for colour, swept in zip(colours, full)],
        edgecolor=colours,
    )
    names = [
        score.member_id if swept else f"{score.member_id}, {score.n_patches} patches"
        for score, swept in zip(shown, full)
    ]
    ax.set_yticks(range(n_shown), names, fontsize=8)
    ax.invert_yaxis()
    n_ineligible = sum(bool(score.ineligible) for score in scores)
    hidden = f", first {n_shown} of {len(scores)}" if n_shown < len(scores) else ""
    estimates = "" if all(full) else ", hollow: estimate"
    ax.set_xlabel(f"U_pp{estimates}{hidden}" + (f", {n_ineligible} ineligible" if n_ineligible else ""), fontsize=8)
    ax.tick_params(axis="x", labelsize=8)
    ax.locator_params(axis="x", nbins=4)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return ax


def in_order(scores: Sequence[MemberScore]) -> list[MemberScore]:
    """Scores as figures show them: swept in full first, least U_pp first, those without any last."""
    return sorted(scores, key=_order)


def _order(score: MemberScore) -> tuple[bool, bool, int, float, str]:
    """Swept in full first, then the further a race took a member the earlier."""
    value = score.u_pp if score.u_pp is not None else score.u_pp_estimate
    return value is None, score.u_pp is None, -(score.n_patches or 0), value or 0.0, score.member_id


def overlay_figure(analysis: StudyAnalysis) -> Figure:
    """One row a slice: peak frame with contours, U-map, members' U_pp."""
    from matplotlib.figure import Figure

    n_slices = len(analysis.slices)
    figure = Figure(figsize=(11, 3.4 * n_slices + 0.5), layout="constrained")
    axes = figure.subplots(n_slices, 3, squeeze=False)
    for item, (left, middle, right) in zip(analysis.slices, axes):
        draw_frame(item, left).set_title(
            f"{item.name}: frame {peak_frame(item) + 1} of {len(item.prepared.frames)}", fontsize=10
        )
        draw_uncertainty(item, middle).set_title(_verdict(item), fontsize=10)
        draw_scores(item, right).set_title(f"rule {item.selection.rule}", fontsize=10)
        figure.colorbar(middle.images[0], ax=middle, shrink=0.8, label="U-map")
    figure.supxlabel(
        f"{analysis.manifest.name}, {len(analysis.manifest.of_patches)} members. Research use only, not for diagnosis.",
        fontsize=8,
    )
    return figure


def overlay_png(analysis: StudyAnalysis) -> bytes:
    """`overlay_figure` as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = overlay_figure(analysis)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _verdict(item: SliceAnalysis) -> str:
    if item.selection.chosen is None:
        return f"no outline: {item.selection.reason}"
    u_pp = item.selection.score_of(item.selection.chosen).u_pp
    return f"{item.selection.chosen}, U_pp {u_pp:.4f}\n{shape_in_words(item)}"


def shape_in_words(item: SliceAnalysis) -> str:
    """Whether the outline has the shape of an LV wall: `closed ring`, `OPEN RING`, and how many stray pieces."""
    if item.contours is None:
        return "no outline"
    n_strays = item.contours.n_pieces - 1
    strays = f" and {n_strays} stray piece{'s' if n_strays > 1 else ''}" if n_strays else ""
    return ("closed ring" if item.contours.closed_ring else "OPEN RING") + strays


def _extent(item: SliceAnalysis) -> tuple[float, float, float, float]:
    way_back = item.prepared.way_back
    (top, left), (row_step, col_step) = way_back.origin_px, way_back.step_px
    bottom, right = top + (way_back.image_px - 0.5) * row_step, left + (way_back.image_px - 0.5) * col_step
    return left - 0.5 * col_step, right, bottom, top - 0.5 * row_step


def _draw_contours(item: SliceAnalysis, ax: Axes) -> None:
    if item.contours is None:
        return
    for points, colour in ((item.contours.epi_px, EPI_COLOUR), (item.contours.endo_px, ENDO_COLOUR)):
        if points is not None:
            closed = np.vstack([points, points[:1]])
            ax.plot(closed[:, 1], closed[:, 0], color=colour, linewidth=1.2)


def _plain(item: SliceAnalysis, ax: Axes) -> Axes:
    left, right, bottom, top = _extent(item)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_xticks([])
    ax.set_yticks([])
    row_step, col_step = item.prepared.way_back.step_px
    ax.set_aspect(col_step / row_step)  # native pixels need not be square; prepared ones are
    return ax
