"""The whole slice as shares of tissues: which tissue fills how much of every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.phantom.defects import FlowState, draw_flow, flow_maps
from pool.phantom.dynamics import Flow
from pool.phantom.grid import Grid, coverage, smooth_noise
from pool.phantom.heart import HeartMaps, HeartShape, draw_hearts, render_heart
from pool.phantom.insertion import insertion_points
from pool.phantom.labels import anatomical_labels, expert_labels
from pool.phantom.populations import Anatomy, Reader, Surroundings
from pool.phantom.ranges import Draws, Range
from pool.phantom.surroundings import draw_surroundings, render_surroundings
from pool.phantom.tissue_curves import FLOW_RANGE, FLOW_WARP, N_FLOWS, N_TISSUES, SCAR_FLOW, TISSUE


@dataclass(frozen=True, eq=False)
class Scene:
    """A batch of slices before any image is made."""

    shares: Tensor
    """Share of each tissue: `slice tissue row col`, tissues in the order of `tissue_curves`."""
    labels: Tensor
    """Expert labels, uint8 `slice row col`."""
    reader_labels: Tensor
    """Labels of every reader, the first the same as `labels`, uint8 `reader slice row col`."""
    anatomical_labels: Tensor
    """Labels by tissue, uint8 `slice row col`."""
    mbf_ml_min_g: Tensor
    """True flow, 0 outside the anatomical myocardium: `slice row col`."""
    flow: FlowState
    """Flow parameters."""
    shape: HeartShape
    """Heart shapes."""
    insertion_mm: Tensor
    """Anterior and inferior RV insertion point, x and y from the LV's centre, not a number without RV: `slice 2 2`."""
    chest_direction: Tensor
    """Unit vector to the nearest chest wall: `slice 2` (x, y)."""
    dark_rim: Tensor
    """Where a dark rim would lie: `slice row col`, 1 on the endocardial border."""


def make_scene(
    draws: Draws,
    anatomy: Anatomy,
    surroundings: Surroundings,
    flow: Flow,
    reader: Reader,
    grid: Grid,
    centre_x_mm: Tensor,
    centre_y_mm: Tensor,
    n_readers: int = 1,
) -> Scene:
    """Draw hearts, what surrounds them, their flow and the experts' contours, and render all of it on a grid.

    Args:
        draws: source of numbers; its number of slices is the batch.
        anatomy, surroundings, flow, reader: distributions.
        grid: where to render.
        centre_x_mm, centre_y_mm: position of the LV from the grid's middle, `slice` [mm].
        n_readers: experts who draw; more of them change nothing else.
    """
    x_mm, y_mm = grid.coordinates_mm(centre_x_mm, centre_y_mm)
    shape = draw_hearts(draws, anatomy)
    heart = render_heart(draws, shape, grid, x_mm, y_mm)
    state = draw_flow(draws, flow)
    mbf, infarct = flow_maps(draws, flow, state, grid, heart)
    around = draw_surroundings(draws, surroundings, shape)
    shares, covered = _fill_heart(draws, shape, heart, grid, mbf, state, infarct)
    render_surroundings(draws, surroundings, around, heart, grid, x_mm, y_mm, shares, 1 - covered)
    readers = Draws(draws.child(), draws.n_subjects)
    read = torch.stack([expert_labels(readers, reader, shape, heart) for _ in range(n_readers)])
    truth = anatomical_labels(heart)
    # a pixel is scar, whose curve has a flow of its own, and muscle of the flow drawn
    true_mbf = torch.lerp(mbf, SCAR_FLOW * state.normal_ml_min_g[:, None, None], infarct)
    rim = torch.exp(-(((heart.endo_distance_mm + 0.8) / 1.1) ** 2))
    return Scene(
        shares,
        read[0],
        read,
        truth,
        torch.where(truth == 1, true_mbf, torch.zeros_like(mbf)),
        state,
        shape,
        insertion_points(shape),
        around.chest_direction,
        rim,
    )


def _fill_heart(
    draws: Draws,
    shape: HeartShape,
    heart: HeartMaps,
    grid: Grid,
    mbf: Tensor,
    state: FlowState,
    infarct: Tensor,
) -> tuple[Tensor, Tensor]:
    """Shares of blood and muscle in the heart, and how much of each pixel the heart covers."""
    pixel = grid.spacing_mm
    cavity = coverage(heart.recess_distance_mm, pixel)
    left = coverage(heart.epi_distance_mm, pixel)
    cavity = torch.minimum(cavity, left)
    right = coverage(heart.rv_distance_mm, pixel) * (1 - left)
    whole = coverage(heart.heart_distance_mm, pixel)
    wall_of_right = (whole - left - right).clamp(min=0) * shape.rv_present[:, None, None]
    muscle_in_cavity, muscle_in_right = cavity * heart.cavity_muscle, right * heart.rv_muscle
    shares = torch.zeros(draws.n_slices, N_TISSUES, grid.n_rows, grid.n_cols, device=draws.device)
    # blood that is not yet mixed with agent, and flow effects, as a weak texture
    unmixed = 1 + draws.slice(Range(0.0, 0.08))[:, None, None] * smooth_noise(draws, grid, 9.0)
    shares[:, TISSUE["lv_blood"]] = (cavity - muscle_in_cavity) * unmixed
    shares[:, TISSUE["rv_blood"]] = (right - muscle_in_right) * (2 * unmixed - 1)
    lean = left - cavity
    shares[:, TISSUE["infarct"]] = lean * infarct
    muscle = lean * (1 - infarct) + muscle_in_cavity + muscle_in_right + wall_of_right
    low, high = FLOW_RANGE
    level = ((mbf / state.normal_ml_min_g[:, None, None] - low) / (high - low)).clamp(0, 1) ** (1 / FLOW_WARP) * (
        N_FLOWS - 1
    )
    for i in range(N_FLOWS):
        shares[:, TISSUE["flow"] + i] = muscle * (1 - (level - i).abs()).clamp(min=0)
    return shares, (left + right + wall_of_right).clamp(0, 1)
