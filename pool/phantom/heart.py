"""The heart's shape in one slice: left ventricle, papillary muscles, trabeculae, right ventricle.

Contours are radii as functions of the angle about the LV's centre, in the slice plane: x to the image's right (the
patient's left), y down. The right ventricle lies to the image's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.phantom.grid import Grid, coverage, look_up, smooth_noise, table_angles
from pool.phantom.populations import Anatomy
from pool.phantom.ranges import Draws, Range

N_ANGLES = 360
"""Entries of a contour's table."""
MAX_SHORTENING = 0.46
"""Loss of the cavity's radius from end diastole to end systole."""
LARGEST_EPI_MM = 47.0
"""Larger hearts, dilated and thick at once, are scaled down to this mean epicardial radius [mm]."""
RECESS = 0.7
"""Depth of the recesses over the thickness of the trabecular layer."""
GROOVE_MM = 6.0
"""Width over which the pericardium bridges a groove [mm]."""
N_PAPILLARY = 3
"""Papillary muscles: two, of which the posteromedial one often has two heads."""


@dataclass(frozen=True, eq=False)
class HeartShape:
    """Shape parameters of a batch of slices; tensors `slice`, tables `slice angle`."""

    epi_mm: Tensor
    """Epicardial radius by angle [mm], `slice angle`."""
    wall_mm: Tensor
    """Compact wall by angle [mm], `slice angle`."""
    septum_rad: Tensor
    """Direction of the septum's middle from the LV's centre [rad]."""
    trabecular_mm: Tensor
    """Thickness of the trabecular layer, which is pressed together as the cavity shrinks [mm]."""
    papillary: Tensor
    """x, y, half-axis 1, half-axis 2 [mm], tilt [rad], presence: `slice muscle 6`."""
    rv_centre_mm: Tensor
    """Along and across the septum's direction [mm]: `slice 2`."""
    rv_half_axes_mm: Tensor
    """Along and across the septum's direction [mm]: `slice 2`."""
    rv_modulation: Tensor
    """Relative deviation of the RV's outline by angle: `slice angle`."""
    rv_wall_mm: Tensor
    """RV free wall [mm]."""
    rv_gap_mm: Tensor
    """From the septal epicardium to the RV cavity [mm]."""
    rv_trabeculation: Tensor
    """Share of muscle in the RV cavity's trabeculated parts."""
    rv_present: Tensor
    """Whether the RV reaches the slice: bool."""
    contraction: Tensor
    """0 end diastole, 1 end systole."""


def harmonics(draws: Draws, roughness: float, n_angles: int = N_ANGLES) -> Tensor:
    """Smooth random function of the angle, k = 2 .. 5, `slice angle`."""
    angles = table_angles(n_angles, draws.device)
    total = torch.zeros(draws.n_slices, n_angles, device=draws.device)
    for k in range(2, 6):
        a = draws.normal(2) * (roughness / k)
        total = total + a[:, :1] * torch.cos(k * angles) + a[:, 1:] * torch.sin(k * angles)
    return total


def draw_hearts(draws: Draws, anatomy: Anatomy) -> HeartShape:
    """Draw consistent base, mid and apical slices of hearts.

    The wall's area is kept as the cavity shrinks, but for an eighth that comes from longitudinal shortening.
    """
    contraction = (draws.subject(anatomy.contraction) + 0.12 * draws.normal()).clamp(0, 1)
    size = draws.by_level(1.02, 0.97, 0.74) * (1 + 0.04 * draws.normal())
    diastolic_cavity = draws.subject(anatomy.cavity_radius_mm) * size
    diastolic_wall = draws.subject(anatomy.wall_mm) * draws.by_level(1.0, 1.0, 0.85) * (1 + 0.06 * draws.normal())
    cavity = diastolic_cavity * (1 - MAX_SHORTENING * contraction)
    wall_area = ((diastolic_cavity + diastolic_wall) ** 2 - diastolic_cavity**2) * (1 + 0.12 * contraction)
    epi = torch.sqrt(cavity**2 + wall_area)
    fits = (LARGEST_EPI_MM / epi).clamp(max=1.0)
    cavity, epi = cavity * fits, epi * fits

    angles = table_angles(N_ANGLES, draws.device)[None]
    short = draws.slice(anatomy.ellipticity)[:, None]
    tilt = draws.subject(Range(0, torch.pi))[:, None]
    ellipse = torch.rsqrt(torch.cos(angles - tilt) ** 2 + (torch.sin(angles - tilt) / short) ** 2) / torch.sqrt(short)
    epi_table = epi[:, None] * ellipse * (1 + harmonics(draws, anatomy.outline_roughness))
    thick_side = draws.subject(Range(-torch.pi, torch.pi))[:, None]
    uneven = 1 + draws.subject(anatomy.wall_asymmetry)[:, None] * torch.cos(angles - thick_side)
    wall_table = ((epi - cavity)[:, None] * uneven * (1 + harmonics(draws, 1.5 * anatomy.outline_roughness))).clamp(
        min=2.5
    )
    wall_table = torch.minimum(wall_table, epi_table - 3.0)

    septum = torch.pi + draws.subject(anatomy.septum_angle_rad) + 0.06 * draws.normal()
    septum = torch.remainder(septum + torch.pi, 2 * torch.pi) - torch.pi
    rv_scale = draws.by_level(1.0, 0.92, 0.72) * (1 - 0.15 * contraction)
    length = epi * draws.subject(anatomy.rv_size) * rv_scale
    width = epi * draws.subject(anatomy.rv_width) * rv_scale
    offset = epi * draws.slice(Range(0.55, 1.0))
    across = length * draws.subject(Range(-0.45, 0.25))
    absent = draws.happens(anatomy.rv_absent_at_apex) & (draws.by_level(0.0, 0.0, 1.0) > 0)
    return HeartShape(
        epi_mm=epi_table,
        wall_mm=wall_table,
        septum_rad=septum,
        trabecular_mm=draws.subject(anatomy.trabecular_mm) * draws.by_level(0.7, 1.0, 1.3) * (1 + 0.9 * contraction),
        papillary=_draw_papillary(draws, anatomy, cavity, septum, contraction),
        rv_centre_mm=torch.stack([offset, across], 1),
        rv_half_axes_mm=torch.stack([width, length], 1),
        rv_modulation=harmonics(draws, 0.11),
        rv_wall_mm=draws.subject(Range(1.5, 3.5)),
        rv_gap_mm=draws.slice(Range(0.0, 0.8)),
        rv_trabeculation=draws.slice(Range(0.0, 0.9)) * draws.by_level(0.6, 1.0, 1.2),
        rv_present=~absent,
        contraction=contraction,
    )


def _draw_papillary(
    draws: Draws, anatomy: Anatomy, cavity_mm: Tensor, septum_rad: Tensor, contraction: Tensor
) -> Tensor:
    """Papillary muscles on the free wall: thicker as the heart contracts, and pressed against the wall by end systole,
    where they fill the cavity between star-shaped rests of blood."""
    late = contraction[:, None]
    spread = torch.tensor([0.95, -0.95, -0.35], device=draws.device)
    angle = septum_rad[:, None] + torch.pi + spread + 0.3 * draws.normal(N_PAPILLARY)
    radius = draws.slices(anatomy.papillary_radius_mm, N_PAPILLARY) * (1 + 1.4 * late)
    radius = torch.minimum(radius, (0.45 + 0.2 * late) * cavity_mm[:, None])
    inwards = draws.slices(Range(0.1, 1.7), N_PAPILLARY) * (1 - 0.65 * late)
    depth = (cavity_mm[:, None] - radius * inwards).clamp(min=1.0)
    squeeze = draws.slices(Range(0.55, 1.0), N_PAPILLARY)
    tilt = angle + 0.6 * draws.normal(N_PAPILLARY)
    likely = draws.by_level(0.45, 0.92, 0.5)[:, None] * torch.tensor([1.0, 1.0, 0.75], device=draws.device)
    present = (draws.slices(Range(0, 1), N_PAPILLARY) < likely).float()
    x, y = depth * torch.cos(angle), depth * torch.sin(angle)
    return torch.stack([x, y, radius, radius * squeeze, tilt, present], 2)


@dataclass(frozen=True, eq=False)
class HeartMaps:
    """The heart on a grid; distances are signed, positive inside, tensors `slice row col`."""

    angle_rad: Tensor
    """Direction from the LV's centre [rad]."""
    epi_distance_mm: Tensor
    """To the epicardial border [mm]."""
    endo_distance_mm: Tensor
    """To the border of cavity and compact wall [mm]."""
    recess_distance_mm: Tensor
    """To the ends of the recesses between trabeculae, outside the cavity's border [mm]."""
    rv_distance_mm: Tensor
    """To the border of the RV cavity [mm]."""
    heart_distance_mm: Tensor
    """To the outline of both ventricles with their walls [mm]."""
    sac_distance_mm: Tensor
    """To the pericardium's inside, which spans the grooves between the ventricles [mm]."""
    cavity_muscle: Tensor
    """Share of muscle (papillary, trabecular) inside the LV cavity."""
    papillary_muscle: Tensor
    """Share of papillary muscle inside the LV cavity."""
    rv_muscle: Tensor
    """Share of trabeculae inside the RV cavity."""
    depth: Tensor
    """Position within the wall: 0 at the endocardium, 1 at the epicardium."""


def rv_outline_distance(shape: HeartShape, x_mm: Tensor, y_mm: Tensor) -> Tensor:
    """Signed distance to the outline of the RV as if the LV were not there, positive inside [mm]."""
    along, across = torch.cos(shape.septum_rad)[:, None, None], torch.sin(shape.septum_rad)[:, None, None]
    u = (x_mm * along + y_mm * across - shape.rv_centre_mm[:, 0, None, None]) / shape.rv_half_axes_mm[:, 0, None, None]
    v = (y_mm * along - x_mm * across - shape.rv_centre_mm[:, 1, None, None]) / shape.rv_half_axes_mm[:, 1, None, None]
    outline = 1 + look_up(shape.rv_modulation, torch.atan2(v, u))
    q = torch.sqrt(u**2 + v**2).clamp(min=1e-3)
    slope = torch.sqrt(
        (u / shape.rv_half_axes_mm[:, 0, None, None]) ** 2 + (v / shape.rv_half_axes_mm[:, 1, None, None]) ** 2
    )
    rv_outside = (outline - q) * q / slope.clamp(min=1e-4)
    return torch.where(shape.rv_present[:, None, None], rv_outside, torch.full_like(rv_outside, -1e3))


def render_heart(draws: Draws, shape: HeartShape, grid: Grid, x_mm: Tensor, y_mm: Tensor) -> HeartMaps:
    """Draw the heart on a grid of pixel positions relative to the LV's centre (`Grid.coordinates_mm`)."""
    pixel = grid.spacing_mm
    radius = torch.sqrt(x_mm**2 + y_mm**2)
    angle = torch.atan2(y_mm.expand_as(radius), x_mm.expand_as(radius))
    epi = look_up(shape.epi_mm, angle)
    wall = look_up(shape.wall_mm, angle)
    epi_distance, endo_distance = epi - radius, epi - wall - radius

    rv_outside = rv_outline_distance(shape, x_mm, y_mm)
    rv_distance = torch.minimum(rv_outside, -epi_distance - shape.rv_gap_mm[:, None, None])
    heart_distance = torch.maximum(epi_distance, rv_outside + shape.rv_wall_mm[:, None, None])
    # a smooth maximum bridges the grooves at the insertion points, where the fat lies
    sac_distance = GROOVE_MM * torch.logaddexp(
        epi_distance / GROOVE_MM, (rv_outside + shape.rv_wall_mm[:, None, None]) / GROOVE_MM
    )

    papillary = torch.zeros_like(radius)
    for i in range(N_PAPILLARY):
        px, py, a, b, tilt, present = shape.papillary[:, i].unbind(1)
        c, s = torch.cos(tilt)[:, None, None], torch.sin(tilt)[:, None, None]
        dx, dy = x_mm - px[:, None, None], y_mm - py[:, None, None]
        q = torch.sqrt(((dx * c + dy * s) / a[:, None, None]) ** 2 + ((dy * c - dx * s) / b[:, None, None]) ** 2)
        muscle = coverage((1 - q) * b[:, None, None], 1.5 * pixel) * present[:, None, None]
        papillary = torch.maximum(papillary, muscle)
    ridges = (0.35 + 0.75 * smooth_noise(draws, grid, 6.0) + 0.35 * smooth_noise(draws, grid, 3.0)).clamp(0, 2.2)
    layer = shape.trabecular_mm[:, None, None]
    # recesses reach into the wall, ridges into the cavity, and a thick slice mixes both
    recess = RECESS * layer
    trabecular = ((layer * ridges + 0.5 * recess - endo_distance) / (recess + 0.8 * layer + pixel) + 0.2).clamp(0, 1)
    depth = (-endo_distance / wall).clamp(0, 1)
    streaks = smooth_noise(draws, grid, 6.0) + 0.5 * smooth_noise(draws, grid, 3.0)
    near_wall = (1.3 - rv_outside / (0.5 * shape.rv_half_axes_mm[:, :1, None])).clamp(0.15, 1)
    rv_muscle = (shape.rv_trabeculation[:, None, None] * near_wall * (streaks - 0.3)).clamp(0, 0.9)
    return HeartMaps(
        angle_rad=angle,
        epi_distance_mm=epi_distance,
        endo_distance_mm=endo_distance,
        recess_distance_mm=endo_distance + recess,
        rv_distance_mm=rv_distance,
        heart_distance_mm=heart_distance,
        sac_distance_mm=sac_distance,
        cavity_muscle=torch.maximum(papillary, trabecular),
        papillary_muscle=papillary,
        rv_muscle=rv_muscle,
        depth=depth,
    )
