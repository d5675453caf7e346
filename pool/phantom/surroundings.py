"""What lies around the heart: fat, lung and its vessels, diaphragm with liver, chest wall, clutter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.phantom.grid import Grid, coverage, smooth_noise
from pool.phantom.heart import HeartMaps, HeartShape
from pool.phantom.populations import Surroundings
from pool.phantom.ranges import Draws, Range
from pool.phantom.tissue_curves import TISSUE

N_REGIONS = 9
"""Random regions of the clutter."""


@dataclass(frozen=True, eq=False)
class Around:
    """Positions of the surroundings relative to the LV's centre, tensors `slice`."""

    chest_direction: Tensor
    """Unit vector to the nearest chest wall: `slice 2` (x, y)."""
    chest_inside_mm: Tensor
    """Distance of the chest wall's inside along that direction [mm]."""
    chest_muscle_mm: Tensor
    """Ribs and muscle [mm]."""
    chest_fat_mm: Tensor
    """Subcutaneous fat [mm]."""
    body_half_axes_mm: Tensor
    """Inside of the chest, across and along the image: `slice 2` [mm]."""
    body_tilt_rad: Tensor
    """Rotation of the chest in the image [rad]."""
    diaphragm_mm: Tensor
    """Height of the diaphragm below the LV's centre [mm]."""
    diaphragm_tilt: Tensor
    """Slope of the diaphragm."""
    diaphragm_bend: Tensor
    """Curvature of the diaphragm [1/mm]."""
    has_liver: Tensor
    """Whether the diaphragm is in the picture: bool."""
    fat_mm: Tensor
    """Mean thickness of the fat around the heart [mm]."""
    pad_mm: Tensor
    """Mediastinal fat between the heart and the chest wall: reaches this far from the wall [mm]."""
    aorta: Tensor
    """Descending aorta: x, y, radius [mm], 0 where it is not in the slice: `slice 1 3`."""
    spine: Tensor
    """Vertebra: `slice 1 3`."""
    coronary: Tensor
    """Vessels in the grooves of the heart: `slice vessel 3`."""
    outline_opacity: Tensor
    """Darkness of the line between heart and fat (opposed phases of water and fat)."""


def draw_surroundings(draws: Draws, surroundings: Surroundings, shape: HeartShape) -> Around:
    """Draw the chest about given hearts."""
    epi = shape.epi_mm.mean(1)
    angle = draws.subject(surroundings.chest_angle_rad) + 0.05 * draws.normal()
    direction = torch.stack([-torch.cos(angle), -torch.sin(angle)], 1)
    rv_reach = torch.where(shape.rv_present, shape.rv_centre_mm[:, 0] + shape.rv_half_axes_mm[:, 0], epi)
    reach = torch.maximum(epi, rv_reach * torch.cos(angle - (torch.pi - shape.septum_rad.abs())).abs().clamp(min=0.75))
    tilt = torch.tan(draws.subject(surroundings.liver_tilt_rad) + 0.05 * draws.normal())
    reach = 0.5 * (reach + draws.largest_of_subject(reach))
    return Around(
        chest_direction=direction,
        chest_inside_mm=reach + 3.0 + draws.subject(surroundings.chest_wall_gap_mm),
        chest_muscle_mm=draws.subject(surroundings.chest_muscle_mm),
        chest_fat_mm=draws.subject(surroundings.chest_fat_mm),
        body_half_axes_mm=torch.stack([draws.subject(Range(125, 160)), draws.subject(Range(85, 115))], 1),
        body_tilt_rad=draws.subject(Range(-0.35, 0.35)),
        diaphragm_mm=epi * draws.subject(Range(1.0, 1.25)) + draws.subject(surroundings.liver_gap_mm),
        diaphragm_tilt=tilt,
        diaphragm_bend=draws.subject(Range(0.0, 0.006)),
        has_liver=draws.subject_happens(surroundings.liver_share),
        fat_mm=draws.subject(surroundings.epicardial_fat_mm),
        pad_mm=draws.subject(Range(-4.0, 16.0)),
        aorta=_behind(draws, Range(0.45, 0.95), Range(62, 95), Range(8, 14), 0.7),
        spine=_behind(draws, Range(0.8, 1.3), Range(95, 130), Range(16, 24), 0.9),
        coronary=_coronaries(draws, shape),
        outline_opacity=draws.subject(Range(0.0, 1.0)),
    )


def _behind(draws: Draws, angle_rad: Range, distance_mm: Range, radius_mm: Range, share: float) -> Tensor:
    """A round structure behind the heart, below and to the right in the image: `slice 1 3`."""
    angle, distance = draws.subject(angle_rad), draws.subject(distance_mm)
    radius = draws.subject(radius_mm) * draws.subject_happens(share)
    return torch.stack([distance * torch.cos(angle), distance * torch.sin(angle), radius], 1)[:, None]


def _coronaries(draws: Draws, shape: HeartShape) -> Tensor:
    """A vessel in each groove, where right ventricle and septum meet: `slice vessel 3`."""
    side = torch.tensor([1.1, -1.1], device=draws.device)
    angle = shape.septum_rad[:, None] + side + 0.25 * draws.normal(2)
    distance = shape.epi_mm.mean(1)[:, None] + draws.slices(Range(2.5, 8.0), 2)
    radius = draws.slices(Range(0.8, 2.2), 2) * (draws.slices(Range(0, 1), 2) < 0.4)
    return torch.stack([distance * torch.cos(angle), distance * torch.sin(angle), radius], 2)


def _spot(spots: Tensor, x_mm: Tensor, y_mm: Tensor, edge_mm: float) -> Tensor:
    """Coverage by discs of (x, y, radius), `slice spot 3`; a radius of 0 draws nothing."""
    cover = torch.zeros(1, device=spots.device)
    for x, y, radius in (spot.unbind(1) for spot in spots.unbind(1)):
        distance = torch.sqrt((x_mm - x[:, None, None]) ** 2 + (y_mm - y[:, None, None]) ** 2)
        disc = coverage(radius[:, None, None] - distance, edge_mm) * (radius > 0)[:, None, None]
        cover = torch.maximum(cover, disc)
    return cover


def render_surroundings(
    draws: Draws,
    surroundings: Surroundings,
    around: Around,
    heart: HeartMaps,
    grid: Grid,
    x_mm: Tensor,
    y_mm: Tensor,
    shares: Tensor,
    free: Tensor,
) -> None:
    """Add the surroundings' shares in place, each layer in what the layers above it left free.

    Args:
        draws: source of numbers.
        surroundings, around: distributions and drawn positions.
        heart: the rendered heart.
        grid, x_mm, y_mm: pixels and their positions.
        shares: `slice tissue row col`, changed.
        free: share of each pixel that is not heart, `slice row col`.
    """
    pixel = grid.spacing_mm
    outside = -heart.heart_distance_mm
    lumps = smooth_noise(draws, grid, 16.0)
    grain = 1 + 0.12 * smooth_noise(draws, grid, 2.6)

    def take(cover: Tensor) -> Tensor:
        nonlocal free
        part = free * cover
        free = free - part
        return part

    shares[:, TISSUE["lv_blood"]] += take(_spot(around.coronary, x_mm, y_mm, pixel) * coverage(outside, pixel))
    take(around.outline_opacity[:, None, None] * coverage(1.0 - outside, pixel))
    broad_lumps = smooth_noise(draws, grid, 45.0)
    ring = around.fat_mm[:, None, None] * (0.6 + 0.6 * broad_lumps + 0.15 * lumps).clamp(0, 3)
    shares[:, TISSUE["fat"]] += take(coverage(ring + heart.sac_distance_mm, 1.5 * pixel)) * grain

    inside, along_wall = _chest_distance(around, x_mm, y_mm)
    inside = inside + 2.0 * lumps

    drop = around.diaphragm_mm[:, None, None] + around.diaphragm_tilt[:, None, None] * x_mm
    below = y_mm - drop - around.diaphragm_bend[:, None, None] * x_mm**2 + 1.5 * lumps
    liver = take(coverage(below, 1.5 * pixel) * coverage(inside, pixel) * around.has_liver[:, None, None])
    swirl = smooth_noise(draws, grid, 5.0)
    organ_side = coverage(x_mm + 12.0 * lumps - 60 * draws.normal()[:, None, None], 12.0)
    shares[:, TISSUE["liver"]] += liver * (1 - organ_side) * (1 + 0.08 * swirl)
    shares[:, TISSUE["other"]] += liver * organ_side * (0.7 + 0.12 * swirl + 0.2 * lumps).clamp(0.05, 1.5)

    shares[:, TISSUE["lv_blood"]] += take(_spot(around.aorta, x_mm, y_mm, pixel) * coverage(inside, pixel))
    spine = take(_spot(around.spine, x_mm, y_mm, 2 * pixel) * coverage(inside + 12.0, pixel))
    shares[:, TISSUE["other"]] += spine * (0.75 + 0.15 * swirl).clamp(0.1, 1.3)

    pad = around.pad_mm[:, None, None] * (1 + 0.5 * broad_lumps) - (inside + 0.35 * outside).clamp(min=-5)
    shares[:, TISSUE["fat"]] += take(coverage(pad, 2 * pixel) * coverage(inside, pixel)) * (0.8 + 0.25 * swirl).clamp(
        0.1, 1.3
    )

    lung = take(coverage(inside, 1.5 * pixel))
    vessels = lung * _lung_vessels(draws, surroundings, x_mm, y_mm)
    shares[:, TISSUE["lung_vessel"]] += vessels
    shares[:, TISSUE["lung"]] += lung - vessels

    depth = -inside
    muscle = take(coverage(around.chest_muscle_mm[:, None, None] - depth, 2 * pixel))
    middle = 1 - ((depth / around.chest_muscle_mm[:, None, None].clamp(min=1) - 0.5) / 0.3) ** 2
    ribs = ((1.5 * torch.sin(along_wall / 5.5 + 1.0 * lumps) + 0.3) * middle.clamp(min=0)).clamp(0, 1)
    layers = (0.6 * smooth_noise(draws, grid, 11.0)).clamp(0, 0.8) * (1 - ribs)
    shares[:, TISSUE["muscle"]] += muscle * (1 - 0.75 * ribs - layers) * grain
    shares[:, TISSUE["fat"]] += muscle * (0.1 * ribs + layers)
    skin = around.chest_muscle_mm[:, None, None] + around.chest_fat_mm[:, None, None]
    shares[:, TISSUE["fat"]] += take(coverage(skin - depth, pixel)) * (0.9 + 0.1 * swirl).clamp(0.2, 1.3)
    if surroundings.clutter > 0:
        _add_clutter(draws, surroundings.clutter, heart, grid, x_mm, y_mm, shares, lumps)


def _chest_distance(around: Around, x_mm: Tensor, y_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance to the inside of the chest wall (an ellipse) and the way along it, `slice row col` [mm]."""
    a, b = around.body_half_axes_mm[:, 0, None, None], around.body_half_axes_mm[:, 1, None, None]
    c, s = torch.cos(around.body_tilt_rad)[:, None, None], torch.sin(around.body_tilt_rad)[:, None, None]
    ahead_x, ahead_y = around.chest_direction[:, 0, None, None], around.chest_direction[:, 1, None, None]
    # the ellipse is placed so that its border lies at the wanted distance in the wanted direction
    reach = torch.rsqrt(((ahead_x * c + ahead_y * s) / a) ** 2 + ((ahead_y * c - ahead_x * s) / b) ** 2)
    shift = reach - around.chest_inside_mm[:, None, None]
    x, y = x_mm + ahead_x * shift, y_mm + ahead_y * shift
    u, v = (x * c + y * s) / a, (y * c - x * s) / b
    q = torch.sqrt(u**2 + v**2).clamp(min=1e-3)
    slope = torch.sqrt((u / a) ** 2 + (v / b) ** 2).clamp(min=1e-5)
    return (1 - q) * q / slope, torch.sqrt(a * b) * torch.atan2(v, u)


def _lung_vessels(draws: Draws, surroundings: Surroundings, x_mm: Tensor, y_mm: Tensor) -> Tensor:
    """Bright dots in the lung, most of them towards the top right: share of vessel, `slice row col`."""
    n = surroundings.n_vessels
    hilum = draws.slices(Range(-20, 90), 2) * torch.tensor([1.0, -0.8], device=draws.device)
    x0 = hilum[:, :1] + 38.0 * draws.normal(n)
    y0 = hilum[:, 1:] + 26.0 * draws.normal(n)
    radius = 0.8 + 1.5 * draws.slices(Range(0, 1), n) ** 3
    seen = draws.slices(Range(0, 1), n) < draws.slice(Range(0.1, 1.0))[:, None]
    strength = draws.slices(Range(0.1, 1), n) ** 1.5 * seen
    # a Gaussian dot is a product of two profiles, so all dots together are one matrix product
    columns = torch.exp(-0.5 * ((x_mm[:, 0, None, :] - x0[:, :, None]) / radius[:, :, None]) ** 2)
    rows = torch.exp(-0.5 * ((y_mm[:, None, :, 0] - y0[:, :, None]) / radius[:, :, None]) ** 2)
    return torch.bmm((rows * strength[:, :, None]).transpose(1, 2), columns).clamp(0, 1)


def _add_clutter(
    draws: Draws,
    strength: float,
    heart: HeartMaps,
    grid: Grid,
    x_mm: Tensor,
    y_mm: Tensor,
    shares: Tensor,
    lumps: Tensor,
) -> None:
    """Replace the surroundings of some slices by random regions of random tissues, in place."""
    cover = draws.happens(strength).float()[:, None, None] * coverage(-heart.heart_distance_mm - 1.0, 2.0)
    x0, y0 = draws.slices(Range(-90, 90), N_REGIONS), draws.slices(Range(-90, 90), N_REGIONS)
    warp = smooth_noise(draws, grid, 20.0) * 6.0
    distance = (x_mm[:, None] + warp[:, None] - x0[:, :, None, None]) ** 2 + (
        y_mm[:, None] + 6.0 * lumps[:, None] - y0[:, :, None, None]
    ) ** 2
    region = distance.argmin(1).flatten(1)
    grain = (1 + draws.slice(Range(0.05, 0.35))[:, None, None] * smooth_noise(draws, grid, 4.0)).clamp(0.1, 2)
    shares.mul_(1 - cover[:, None])
    kept = {"fat": 0.9, "liver": 0.8, "muscle": 0.9, "other": 0.9, "lung": 1.0, "lung_vessel": 0.25, "lv_blood": 0.12}
    for name, most in kept.items():
        level = (draws.slices(Range(-1.0, 1.0), N_REGIONS) * most).clamp(min=0)
        shares[:, TISSUE[name]] += cover * grain * level.gather(1, region).view_as(cover * grain)
