"""Blood flow of every pixel of the myocardium: normal, heterogeneous, with defects and infarcts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.phantom.dynamics import Flow
from pool.phantom.grid import Grid, smooth_noise
from pool.phantom.heart import HeartMaps
from pool.phantom.ranges import Draws, Range


@dataclass(frozen=True, eq=False)
class FlowState:
    """Flow parameters of a batch, tensors `slice`."""

    stress: Tensor
    """Whether the study is a stress study: bool."""
    normal_ml_min_g: Tensor
    """Flow of healthy myocardium."""
    distribution_volume: Tensor
    """Distribution volume of healthy myocardium relative to whole blood."""
    sharpness: Tensor
    """Shape of the Fermi residue."""
    delay_s: Tensor
    """Arrival after the LV cavity [s]."""


def draw_flow(draws: Draws, flow: Flow) -> FlowState:
    """Draw rest or stress and the healthy flow of hearts."""
    stress = draws.subject_happens(flow.stress_share)
    normal = torch.where(stress, draws.subject(flow.stress_ml_min_g), draws.subject(flow.rest_ml_min_g))
    return FlowState(
        stress=stress,
        normal_ml_min_g=normal,
        distribution_volume=draws.subject(flow.distribution_volume),
        sharpness=draws.subject(flow.sharpness),
        delay_s=draws.subject(flow.delay_s),
    )


def flow_maps(draws: Draws, flow: Flow, state: FlowState, grid: Grid, maps: HeartMaps) -> tuple[Tensor, Tensor]:
    """True flow [mL/min/g] and share of infarcted tissue, both `slice row col`, as if every pixel were myocardium.

    A focal defect is a sector of a coronary territory, of the same place on the three slices, subendocardial to
    transmural; a diffuse one is a subendocardial ring; an infarct sits in the defect's sector.
    """
    field = 1 + draws.subject(flow.heterogeneity)[:, None, None] * smooth_noise(draws, grid, 14.0)
    relative = field.clamp(0.3, 1.7)
    centre = draws.subject(Range(-torch.pi, torch.pi)) + 0.15 * draws.normal()
    half_width = draws.subject(Range(0.35, 1.2)) * (1 + 0.15 * draws.normal())
    extent = draws.subject(Range(0.35, 1.3))
    deficit = 1 - draws.subject(flow.defect_flow)
    ill = draws.subject_happens(flow.defect_share)
    diffuse = ill & draws.subject_happens(flow.diffuse_share)
    focal = ill & ~diffuse

    turn = torch.remainder(maps.angle_rad - centre[:, None, None] + torch.pi, 2 * torch.pi) - torch.pi
    sector = torch.sigmoid((half_width[:, None, None] - turn.abs()) / 0.12)
    transmural = torch.sigmoid((extent[:, None, None] - maps.depth) / 0.08)
    ring = (1.2 * (1 - maps.depth)).clamp(0, 1)
    weight = torch.where(diffuse[:, None, None], ring, sector * transmural) * ill[:, None, None]
    relative = relative * (1 - deficit[:, None, None] * weight)

    infarcted = draws.subject_happens(flow.infarct_share) & (focal | draws.subject_happens(flow.infarct_without_defect))
    core_extent = extent * draws.subject(Range(0.5, 1.0))
    core = torch.sigmoid((0.75 * half_width[:, None, None] - turn.abs()) / 0.1)
    core = core * torch.sigmoid((core_extent[:, None, None] - maps.depth) / 0.08) * infarcted[:, None, None]
    left = draws.subject(flow.infarct_flow)[:, None, None]
    relative = relative * (1 - core) + core * left
    return state.normal_ml_min_g[:, None, None] * relative, core
