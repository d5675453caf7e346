"""Pixel grids in millimetres, and smooth random fields on them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from pool.errors import SettingsError
from pool.phantom.ranges import Draws


@dataclass(frozen=True)
class Grid:
    """A regular grid whose middle lies at the origin of the slice plane.

    Raises:
        SettingsError: a size or spacing that is not positive.
    """

    n_rows: int
    """Rows."""
    n_cols: int
    """Columns."""
    spacing_mm: float
    """Distance between pixel centres [mm], both directions."""

    def __post_init__(self) -> None:
        if min(self.n_rows, self.n_cols) < 8 or not 0 < self.spacing_mm < math.inf:
            raise SettingsError(
                "grid",
                "needs at least 8 x 8 pixels of positive spacing",
                f"{self.n_rows} x {self.n_cols}, {self.spacing_mm} mm",
            )

    def coordinates_mm(self, centre_x_mm: Tensor, centre_y_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Position of every pixel relative to a heart that lies at `centre` from the grid's middle.

        Args:
            centre_x_mm, centre_y_mm: `slice`; x rises with the column, y with the row [mm].

        Returns:
            x `slice 1 col` and y `slice row 1` [mm].
        """
        device = centre_x_mm.device
        x = (torch.arange(self.n_cols, device=device) - (self.n_cols - 1) / 2) * self.spacing_mm
        y = (torch.arange(self.n_rows, device=device) - (self.n_rows - 1) / 2) * self.spacing_mm
        return (x[None] - centre_x_mm[:, None])[:, None, :], (y[None] - centre_y_mm[:, None])[:, :, None]


def coverage(distance_mm: Tensor, pixel_mm: float) -> Tensor:
    """Share of a pixel inside a shape, from the signed distance (positive inside) of its centre to the border."""
    return (distance_mm / pixel_mm + 0.5).clamp(0, 1)


def smooth_noise(draws: Draws, grid: Grid, cell_mm: float) -> Tensor:
    """Random field of zero mean and unit standard deviation with features of about `cell_mm`: `slice row col`."""
    rows = max(4, round(grid.n_rows * grid.spacing_mm / cell_mm))
    cols = max(4, round(grid.n_cols * grid.spacing_mm / cell_mm))
    coarse = draws.normal(1, rows, cols)
    fine = functional.interpolate(coarse, (grid.n_rows, grid.n_cols), mode="bicubic", align_corners=False)[:, 0]
    return fine / fine.std(dim=(1, 2), keepdim=True).clamp(min=1e-6)


def look_up(table: Tensor, angle_rad: Tensor) -> Tensor:
    """Values of functions of an angle at every pixel, linear between entries.

    Args:
        table: `slice entry`, equally spaced over [-pi, pi).
        angle_rad: `slice row col`, within [-pi, pi].
    """
    n = table.shape[1]
    position = (angle_rad + torch.pi) * (n / (2 * torch.pi))
    left = position.floor()
    weight = position - left
    index = left.long().flatten(1) % n
    lower, upper = table.gather(1, index), table.gather(1, (index + 1) % n)
    return torch.lerp(lower, upper, weight.flatten(1)).view_as(angle_rad)


def table_angles(n_entries: int, device: torch.device) -> Tensor:
    """The angles of a table's entries [rad]: `entry`."""
    return torch.arange(n_entries, device=device) * (2 * torch.pi / n_entries) - torch.pi
