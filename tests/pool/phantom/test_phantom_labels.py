"""Readers' contours against the wall they are drawn along."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pool.phantom.grid import Grid
from pool.phantom.heart import HeartMaps, HeartShape, draw_hearts, render_heart
from pool.phantom.labels import expert_labels
from pool.phantom.populations import Anatomy, Reader
from pool.phantom.ranges import Draws, Range

GRID = Grid(360, 360, 0.3)
ON_THE_WALL = Reader(
    endo_inset_mm=Range(0, 0), epi_inset_mm=Range(0, 0), wobble_mm=Range(0, 0), systolic_growth=0.0, least_wall_mm=0.5
)
"""A reader who follows both borders of the compact wall."""
N_SECTORS = 48


@pytest.fixture(scope="module")
def heart() -> tuple[HeartShape, HeartMaps]:
    draws = Draws(torch.Generator().manual_seed(6), 1)
    shape = draw_hearts(draws, Anatomy(outline_roughness=0.06))
    x_mm, y_mm = GRID.coordinates_mm(torch.zeros(3), torch.zeros(3))
    return shape, render_heart(draws, shape, GRID, x_mm, y_mm)


def cavity(heart: tuple[HeartShape, HeartMaps], reader: Reader) -> torch.Tensor:
    """What a reader takes for the LV cavity."""
    shape, maps = heart
    labels = expert_labels(Draws(torch.Generator().manual_seed(1), 1), reader, shape, maps)
    return (labels == 2) & (maps.epi_distance_mm > 0)


def harmonics_mm(mask: torch.Tensor, maps: HeartMaps) -> np.ndarray:
    """Size of each harmonic of the contour's radius by angle [mm], from the area of sectors."""
    sector = ((maps.angle_rad[0] + torch.pi) * (N_SECTORS / (2 * torch.pi))).long().clamp(max=N_SECTORS - 1)
    area_mm2 = np.bincount(sector[mask].numpy(), minlength=N_SECTORS) * GRID.spacing_mm**2
    return np.abs(np.fft.rfft(np.sqrt(area_mm2 * N_SECTORS / np.pi))) / N_SECTORS


def test_a_reader_without_smoothing_follows_the_wall(heart: tuple[HeartShape, HeartMaps]) -> None:
    drawn = cavity(heart, replace(ON_THE_WALL, corner_rest=1.0))
    wall = heart[1].endo_distance_mm > 0
    assert int((drawn ^ wall).sum()) <= 2  # a pixel on the border itself


def test_the_endocardial_contour_is_smoother_than_the_wall(heart: tuple[HeartShape, HeartMaps]) -> None:
    as_it_is, drawn = (cavity(heart, replace(ON_THE_WALL, corner_rest=rest)) for rest in (1.0, 0.3))
    for i in range(3):
        before, after = (harmonics_mm(mask[i], heart[1]) for mask in (as_it_is, drawn))
        assert after[:3] == pytest.approx(before[:3], abs=0.05)
        corners = [float(np.linalg.norm(h[3:6])) for h in (before, after)]
        assert corners[0] > 0.3
        assert corners[1] / corners[0] == pytest.approx(0.3, abs=0.08)


def test_the_epicardial_contour_keeps_its_corners(heart: tuple[HeartShape, HeartMaps]) -> None:
    shape, maps = heart
    labels = expert_labels(Draws(torch.Generator().manual_seed(1), 1), ON_THE_WALL, shape, maps)
    assert int((((labels == 1) | cavity(heart, ON_THE_WALL)) ^ (maps.epi_distance_mm > 0)).sum()) <= 2
