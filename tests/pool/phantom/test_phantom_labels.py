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
Cuts = tuple[torch.Tensor, torch.Tensor]


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


def thickness_left_out_mm(heart: tuple[HeartShape, HeartMaps], inside: torch.Tensor, border: torch.Tensor) -> Cuts:
    """From a border out to a contour, at the septum's middle and opposite [mm]."""
    shape, maps = heart
    found = []
    for turned in (0.0, torch.pi):
        off = torch.remainder(maps.angle_rad - shape.septum_rad[:, None, None] - turned + torch.pi, 2 * torch.pi)
        wedge = (off - torch.pi).abs() < 0.2
        radii = [torch.sqrt((mask & wedge).sum((1, 2)) * GRID.spacing_mm**2 / 0.2) for mask in (inside, border)]
        found.append(radii[0] - radii[1])
    return found[0], found[1]


def test_more_is_left_out_at_the_free_wall_inside_and_at_the_septum_outside(
    heart: tuple[HeartShape, HeartMaps],
) -> None:
    shape, maps = heart
    reader = replace(
        ON_THE_WALL, corner_rest=1.0, endo_inset_mm=Range(2, 2), epi_inset_mm=Range(1.5, 1.5),
        endo_free_wall_share=0.25, epi_septal_share=0.4,
    )  # fmt: skip
    septum_mm, free_wall_mm = thickness_left_out_mm(heart, cavity(heart, reader), maps.endo_distance_mm > 0)
    assert septum_mm.numpy() == pytest.approx(np.full(3, 2 * 0.75), abs=0.1)
    assert free_wall_mm.numpy() == pytest.approx(np.full(3, 2 * 1.25), abs=0.1)
    drawn = (expert_labels(Draws(torch.Generator().manual_seed(1), 1), reader, shape, maps) == 1) | cavity(
        heart, reader
    )
    septum_mm, free_wall_mm = thickness_left_out_mm(heart, drawn, maps.epi_distance_mm > 0)
    assert septum_mm.numpy() == pytest.approx(np.full(3, -1.5 * 1.4), abs=0.1)
    assert free_wall_mm.numpy() == pytest.approx(np.full(3, -1.5 * 0.6), abs=0.1)
