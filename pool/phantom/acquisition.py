"""From tissue shares and curves to magnitude images: k-space, coils, noise."""

from __future__ import annotations

import torch
from torch import Tensor

from pool.phantom.ranges import Draws, Range


def kspace_window(n: int, acquired: Tensor, taper: Tensor) -> Tensor:
    """Weights of the k-space lines of an image of `n` pixels, in the order of the FFT: `slice n`.

    Args:
        n: pixels of the image.
        acquired: share of the lines that is acquired, `slice`; the others are 0 (truncation, zero filling).
        taper: share of the acquired half-width over which a raised cosine falls, `slice`.
    """
    frequency = torch.fft.fftfreq(n, device=acquired.device).abs()[None] * 2
    edge = acquired.clamp(max=1.0)[:, None]
    width = (taper[:, None] * edge).clamp(min=1e-3)
    fall = ((edge - frequency) / width).clamp(0, 1)
    window = 0.5 - 0.5 * torch.cos(torch.pi * fall)
    if n % 2 == 0:
        window[:, n // 2] = 0.0  # the Nyquist line has no partner; images stay real without it
    return window


def reduce_by_kspace(images: Tensor, n_rows: int, n_cols: int, row_window: Tensor, col_window: Tensor) -> Tensor:
    """Images as a coarser scan sees them: the centre of their k-space, weighted.

    Coarse pixel j lies at fine pixel `j * n_fine / n_coarse`; means are kept.

    Args:
        images: `slice tissue row col`, real.
        n_rows, n_cols: size of the result, at most that of the images.
        row_window, col_window: weights in the FFT's order, `slice n_rows` and `slice n_cols`.
    """
    fine_rows, fine_cols = images.shape[-2:]
    spectrum = torch.fft.rfft2(images)
    half_rows = n_rows // 2
    low = spectrum[..., : n_rows - half_rows, : n_cols // 2 + 1]
    high = spectrum[..., fine_rows - half_rows :, : n_cols // 2 + 1]
    kept = torch.cat([low, high], -2)
    weights = row_window[:, None, :, None] * col_window[:, None, None, : n_cols // 2 + 1]
    return torch.fft.irfft2(kept * weights, (n_rows, n_cols)) * (n_rows * n_cols / (fine_rows * fine_cols))


def complex_noise(draws: Draws, n_frames: int, row_window: Tensor, col_window: Tensor) -> Tensor:
    """Complex Gaussian noise of unit standard deviation in each channel, coloured by the k-space weights.

    Returns:
        complex `slice frame row col`.
    """
    shape = (draws.n_slices, n_frames, row_window.shape[1], col_window.shape[1], 2)
    white = torch.view_as_complex(torch.randn(shape, generator=draws.generator, device=draws.device))
    weights = row_window[:, None, :, None] * col_window[:, None, None, :]
    power = (weights**2).mean(dim=(2, 3), keepdim=True).clamp(min=1e-6)
    return torch.fft.ifft2(white * (weights / torch.sqrt(power)), norm="ortho")


def magnitude(signal: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Magnitude of a real signal in complex noise: Rician (Gudbjartsson and Patz, Magn Reson Med 1995;34:910).

    Args:
        signal: `slice frame row col`.
        noise: complex, unit standard deviation in each channel, same shape.
        sigma: standard deviation in each channel, broadcastable.
    """
    scaled = torch.view_as_real(noise) * sigma[..., None]
    return torch.hypot(signal + scaled[..., 0], scaled[..., 1])


def coil_field(draws: Draws, falloff: Range, x_mm: Tensor, y_mm: Tensor, chest_direction: Tensor) -> Tensor:
    """Brightness by the surface coils, 1 at the LV's centre: `slice row col`.

    A sum of four loops before the chest and two behind the back, each falling with the square of the distance.

    Args:
        draws: source of numbers.
        falloff: exponent on the array's sensitivity: 0 flat, 1 as the array is.
        x_mm, y_mm: pixel positions (`Grid.coordinates_mm`).
        chest_direction: unit vector to the chest wall, `slice 2`.
    """
    ahead = chest_direction
    aside = torch.stack([-ahead[:, 1], ahead[:, 0]], 1)
    place = draws.slices(Range(-110, 110), 4)
    distance = draws.slices(Range(85, 140), 4)
    total, centre = torch.zeros(1, device=draws.device), torch.zeros(1, device=draws.device)
    for i in range(6):
        front = i < 4
        away = distance[:, i] if front else -torch.full_like(distance[:, 0], 190.0)
        beside = place[:, i] if front else place[:, i - 4]
        position = away[:, None] * ahead + beside[:, None] * aside
        square = (x_mm - position[:, 0, None, None]) ** 2 + (y_mm - position[:, 1, None, None]) ** 2
        total = total + 1 / (1 + square / 75.0**2)
        centre = centre + 1 / (1 + (position**2).sum(1) / 75.0**2)
    exponent = (1.6 * draws.subject(falloff) * (1 + 0.1 * draws.normal()))[:, None, None]
    return (total / centre[:, None, None]) ** exponent


def noise_growth(draws: Draws, acceleration: Tensor, x_mm: Tensor, y_mm: Tensor) -> Tensor:
    """Growth of noise by parallel imaging over the image: `slice row col`, 1 without acceleration.

    `sqrt(R) g` over its value at the edge of the body; g rises to `1 + 0.35 (R - 1)` in the middle of the chest
    (the shape of Pruessmann et al., Magn Reson Med 1999;42:952, fig. 5, as a Gaussian).
    """
    centre = draws.slices(Range(-60, 60), 2)
    square = (x_mm - centre[:, 0, None, None]) ** 2 + (y_mm - centre[:, 1, None, None]) ** 2
    return 1 + 0.35 * (acceleration[:, None, None] - 1) * torch.exp(-square / (2 * 70.0**2))
