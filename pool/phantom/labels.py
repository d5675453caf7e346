"""What the expert draws, and what is there."""

from __future__ import annotations

import torch
from torch import Tensor

from pool.phantom.grid import look_up, table_angles
from pool.phantom.heart import N_ANGLES, HeartMaps, HeartShape, harmonics
from pool.phantom.populations import Reader
from pool.phantom.ranges import Draws
from pool.shapes import BLOOD_POOL, MYOCARDIUM


def expert_labels(draws: Draws, reader: Reader, shape: HeartShape, maps: HeartMaps) -> Tensor:
    """Labels in the experts' convention: uint8 `slice row col`.

    Both contours lie inside the visible wall; papillary muscles and trabeculae count as blood pool, as does the RV
    cavity, and the endocardial contour is smoother than the wall. One reader a heart, so the insets of its three slices
    differ by their contraction alone.
    """
    growth = 1 + reader.systolic_growth * shape.contraction[:, None]
    to_septum = torch.cos(table_angles(N_ANGLES, draws.device)[None] - shape.septum_rad[:, None])
    endo_inset = draws.subject(reader.endo_inset_mm)[:, None] * growth * (1 - reader.endo_free_wall_share * to_septum)
    epi_inset = draws.subject(reader.epi_inset_mm)[:, None] * (1 + reader.epi_septal_share * to_septum)
    rv_inset = draws.subject(reader.rv_inset_mm)[:, None, None]
    wobble = draws.subject(reader.wobble_mm)[:, None]
    endo_wobble, epi_wobble = (2.0 * wobble * harmonics(draws, 1.0, N_ANGLES) for _ in range(2))
    epi_radius = shape.epi_mm - epi_inset + epi_wobble
    endo_radius = _smoothed(shape.epi_mm - shape.wall_mm, reader.corner_rest) + endo_inset + endo_wobble
    endo_radius = torch.minimum(endo_radius, epi_radius - reader.least_wall_mm).clamp(min=1.0)
    radius = look_up(shape.epi_mm, maps.angle_rad) - maps.epi_distance_mm
    inside_epi = radius < look_up(epi_radius, maps.angle_rad)
    inside_endo = radius < look_up(endo_radius, maps.angle_rad)
    labels = torch.zeros_like(radius, dtype=torch.uint8)
    labels[maps.rv_distance_mm > rv_inset] = BLOOD_POOL
    labels[inside_epi] = MYOCARDIUM
    labels[inside_endo] = BLOOD_POOL
    return labels


def _smoothed(radius_mm: Tensor, corner_rest: float) -> Tensor:
    """A contour whose harmonics above the second are damped to a share: `slice angle` [mm]."""
    spectrum = torch.fft.rfft(radius_mm)
    spectrum[:, 3:] *= corner_rest
    return torch.fft.irfft(spectrum, N_ANGLES)


def anatomical_labels(maps: HeartMaps) -> Tensor:
    """Compact LV wall and papillary muscles, both cavities with their trabeculae: uint8 `slice row col`."""
    labels = torch.zeros_like(maps.angle_rad, dtype=torch.uint8)
    labels[maps.rv_distance_mm > 0] = BLOOD_POOL
    labels[maps.epi_distance_mm > 0] = MYOCARDIUM
    labels[(maps.endo_distance_mm > 0) & (maps.papillary_muscle < 0.5)] = BLOOD_POOL
    return labels
