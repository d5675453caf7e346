"""Where the right ventricle meets the left: the landmarks of the AHA segments."""

from __future__ import annotations

import torch
from torch import Tensor

from pool.phantom.grid import table_angles
from pool.phantom.heart import N_ANGLES, HeartShape, rv_outline_distance


def insertion_points(shape: HeartShape) -> Tensor:
    """Where the RV's free wall meets the LV's outline: anterior, then inferior; x and y from the LV's centre [mm].

    Not a number where the RV does not reach the slice: `slice 2 2`.
    """
    angles = table_angles(N_ANGLES, shape.epi_mm.device)[None]
    reach = shape.epi_mm + shape.rv_gap_mm[:, None]
    x, y = (shape.epi_mm * torch.cos(angles)), (shape.epi_mm * torch.sin(angles))
    edge = (reach * torch.cos(angles))[:, None], (reach * torch.sin(angles))[:, None]
    meets = rv_outline_distance(shape, *edge)[:, 0] > 0
    turn = torch.remainder(angles - shape.septum_rad[:, None] + torch.pi, 2 * torch.pi) - torch.pi
    meets = meets & (turn.abs() < 2.4)
    # angles rise clockwise in the image, so from the septum on its left they rise towards the front
    ends = (
        torch.where(meets, turn, torch.full_like(turn, -9.0)).argmax(1),
        torch.where(meets, turn, torch.full_like(turn, 9.0)).argmin(1),
    )
    points = torch.stack([torch.stack([axis.gather(1, end[:, None])[:, 0] for axis in (x, y)], 1) for end in ends], 1)
    return torch.where(meets.any(1)[:, None, None], points, torch.full_like(points, torch.nan))
