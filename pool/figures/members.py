"""Every member's answer to every slice: outlines beside U-maps, as in the paper's Suppl. Figure S4.

A mosaic is one image with lines over it, not an axis a member: 50 members x 3 slices x 2 are drawn in a second or two.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from pool.analysis import SliceAnalysis, StudyAnalysis
from pool.figures.overlay import EPI_COLOUR, U_MAP_RANGE, in_order, peak_frame
from pool.selection import MemberScore
from pool.shapes import MYOCARDIUM
from pool.strays import without_strays
from pool.sweep import MASK_THRESHOLD, MemberMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_COLUMNS = 10
"""Members in a row of a mosaic."""
GAP_PX, LABEL_PX = 4, 20
"""Between tiles, and above each tile for its label [prepared pixels]."""
OUTLINE_COLOUR, LABEL_COLOUR, BACKGROUND = "#64d2ff", "#c8ccd2", "#14161a"
WINDOW_MARGIN = 1.5
"""Side of the shown window over that of the box that holds the outlines of most members."""
OUTLINED_BY = 0.1
"""Share of the members that must outline a pixel for the window to hold it: strays do not shrink the rest."""
LEAST_WINDOW_PX = 48
DPI = 100


def draw_member_outlines(item: SliceAnalysis, ax: Axes) -> Axes:
    """Every member's outline over the peak frame, least U_pp first; the believed member's tile has a frame."""
    window = shown_window(item)
    side = _side(window)
    frame = item.prepared.frames[peak_frame(item)]
    tile = np.clip(frame / max(float(np.percentile(frame, 99.5)), 1e-6), 0.0, 1.0)[window]
    scores = in_order(item.selection.scores)
    tiles = [tile if score.member_id in item.member_maps else None for score in scores]
    _draw_mosaic(tiles, side, "gray", (0.0, 1.0), ax)
    _draw_outlines(item, scores, window, 1.0, ax)
    return _label(item, scores, side, ax)


def draw_member_uncertainties(item: SliceAnalysis, ax: Axes) -> Axes:
    """Every member's U-map with its outline, in the order of `draw_member_outlines`.

    A member that left a race has no U-map: its tile is empty but for the outline.
    """
    window = shown_window(item)
    scores = in_order(item.selection.scores)
    found = [item.member_maps.get(score.member_id) for score in scores]
    tiles = [maps.uncertainty[window] if isinstance(maps, MemberMaps) else None for maps in found]
    _draw_mosaic(tiles, _side(window), "inferno", U_MAP_RANGE, ax)
    _draw_outlines(item, scores, window, 0.45, ax)
    return _label(item, scores, _side(window), ax)


def shown_window(item: SliceAnalysis) -> tuple[slice, slice]:
    """The square of the prepared slice that a tile shows: around what at least a tenth of the members outline.

    The whole slice where no members agree so far.
    """
    side = item.prepared.way_back.image_px
    masks = [without_strays(maps.probability[MYOCARDIUM] >= MASK_THRESHOLD) for maps in item.member_maps.values()]
    outlined = np.mean(masks, axis=0) >= OUTLINED_BY if masks else np.zeros((side, side), dtype=bool)
    boxes = ndimage.find_objects(outlined.astype(np.uint8))
    if not boxes:
        return slice(0, side), slice(0, side)
    rows, cols = boxes[0]
    longest = max(rows.stop - rows.start, cols.stop - cols.start)
    shown = min(side, max(LEAST_WINDOW_PX, math.ceil(longest * WINDOW_MARGIN)))
    starts = (min(max(0, (axis.start + axis.stop - shown) // 2), side - shown) for axis in (rows, cols))
    first_row, first_col = starts
    return slice(first_row, first_row + shown), slice(first_col, first_col + shown)


def members_figure(analysis: StudyAnalysis) -> Figure:
    """A row a slice: outlines on the left, U-maps on the right."""
    from matplotlib.figure import Figure

    n_members = len(analysis.manifest.of_patches)
    n_rows, n_cols = math.ceil(n_members / N_COLUMNS), min(N_COLUMNS, n_members)
    width = max(7.0, 1.8 * n_cols)
    height = len(analysis.slices) * (0.5 + 1.05 * n_rows) + 0.6
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=BACKGROUND)
    axes = figure.subplots(len(analysis.slices), 2, squeeze=False)
    for item, (left, right) in zip(analysis.slices, axes):
        draw_member_outlines(item, left).set_title(f"{item.name}: outlines of all members", color="white", fontsize=11)
        draw_member_uncertainties(item, right).set_title(
            f"{item.name}: U-maps, {U_MAP_RANGE[0]:g} to {U_MAP_RANGE[1]:g}", color="white", fontsize=11
        )
    raced = any(score.u_pp_estimate is not None for item in analysis.slices for score in item.selection.scores)
    estimates = "; ~ estimate of one that left the race, which has no U-map" if raced else ""
    figure.supxlabel(
        f"{analysis.manifest.name}, {n_members} members, least U_pp first, frame: believed by "
        f"{analysis.settings.rule}{estimates}. Research use only, not for diagnosis.",
        color=LABEL_COLOUR,
        fontsize=9,
    )
    return figure


def members_png(analysis: StudyAnalysis) -> bytes:
    """`members_figure` as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(members_figure(analysis)).print_figure(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def tile_label(score: MemberScore) -> str:
    """A member and its U_pp; `~` for the estimate of one that left a race; why there is none."""
    if score.u_pp is not None:
        return f"{score.member_id}  {score.u_pp:.4f}"
    if score.u_pp_estimate is not None:
        return f"{score.member_id}  ~{score.u_pp_estimate:.4f}"
    return f"{score.member_id}  {'empty' if 'empty' in score.ineligible else 'failed'}"


def _corner(number: int, side_px: int) -> tuple[int, int]:
    """Row and column of a tile's first pixel in the mosaic."""
    row, col = divmod(number, N_COLUMNS)
    return row * (side_px + GAP_PX + LABEL_PX) + LABEL_PX, col * (side_px + GAP_PX)


def _side(window: tuple[slice, slice]) -> int:
    return window[0].stop - window[0].start


def _draw_mosaic(
    tiles: Sequence[np.ndarray | None], side: int, colours: str, limits: tuple[float, float], ax: Axes
) -> None:
    n_rows, n_cols = math.ceil(len(tiles) / N_COLUMNS), min(N_COLUMNS, len(tiles))
    shape = (n_rows * (side + GAP_PX + LABEL_PX), n_cols * (side + GAP_PX) - GAP_PX)
    mosaic = np.full(shape, np.nan, dtype=np.float32)
    for number, tile in enumerate(tiles):
        if tile is not None:
            row, col = _corner(number, side)
            mosaic[row : row + side, col : col + side] = tile
    ax.set_facecolor(BACKGROUND)
    ax.imshow(np.ma.masked_invalid(mosaic), cmap=colours, vmin=limits[0], vmax=limits[1])
    ax.set_axis_off()


def _draw_outlines(
    item: SliceAnalysis, scores: Sequence[MemberScore], window: tuple[slice, slice], strength: float, ax: Axes
) -> None:
    """Where the myocardial probability passes the threshold, cut at the tile's border; `strength` 1 is opaque."""
    from contourpy import contour_generator
    from matplotlib.collections import LineCollection

    side = _side(window)
    for believed, colour, width in ((False, OUTLINE_COLOUR, 0.7 * strength), (True, EPI_COLOUR, 1.2 * strength)):
        lines = []
        for number, score in enumerate(scores):
            maps = item.member_maps.get(score.member_id)
            if maps is None or (score.member_id == item.selection.chosen) is not believed:
                continue
            corner = np.array(_corner(number, side)[::-1])
            found = contour_generator(z=maps.probability[MYOCARDIUM][window]).lines(MASK_THRESHOLD)
            lines += [np.asarray(line) + corner for line in found]
        ax.add_collection(LineCollection(lines, colors=colour, linewidths=width, alpha=strength), autolim=False)


def _label(item: SliceAnalysis, scores: Sequence[MemberScore], side: int, ax: Axes) -> Axes:
    from matplotlib.patches import Rectangle

    for number, score in enumerate(scores):
        row, col = _corner(number, side)
        believed = score.member_id == item.selection.chosen
        colour = EPI_COLOUR if believed else LABEL_COLOUR
        ax.text(col, row - 3, tile_label(score), color=colour, fontsize=6, va="bottom", clip_on=True)
        if believed:
            ax.add_patch(Rectangle((col - 1, row - 1), side + 1, side + 1, fill=False, edgecolor=EPI_COLOUR, lw=1.4))
    return ax
