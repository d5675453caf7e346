"""Augmentation on the training device, a batch at a time.

Segmentation-variant transforms move frames and labels together; segmentation-invariant ones change frames only.
Source: Yalcinkaya et al. 2024, Methods (figure 2) and Appendix A. Departures: a patch is sampled straight from its
whole slice, so that rotation brings in real surroundings instead of padding; the flat-field correction estimates one
shading from the temporal mean, so that it cannot flatten the passage of the bolus itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import torch
from torch.nn import functional

from tune.augment_settings import AugmentSettings

N_NOISE_PATCHES = 3
"""Length of the sequence of noise that the patches of a batch share on a CPU, in patches."""
FLAT_FIELD_GAIN = 3.0
"""Most that the flat-field correction amplifies or attenuates; bounds it where the lung is almost black."""


def cut_patches(
    frames: torch.Tensor | Sequence[torch.Tensor], labels: torch.Tensor, offsets_px: torch.Tensor, patch_px: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches as they are.

    Args:
        frames: float32 `slice time row col`; or a sequence of `time row col` of any float, of which only what a patch
            needs is read: on a CPU, copies of whole slices cost more than all transforms together.
        labels: uint8 `slice row col`.
        offsets_px: int64 `slice 2`, first row and column of each slice's patch.
        patch_px: rows and columns of a patch.

    Returns:
        Patches float32 `slice time patch_px patch_px` and labels int64 `slice patch_px patch_px`.
    """
    corners = [(int(row), int(col)) for row, col in offsets_px.tolist()]
    cut = [f[:, r : r + patch_px, c : c + patch_px] for f, (r, c) in zip(frames, corners, strict=True)]
    cut_labels = [y[r : r + patch_px, c : c + patch_px] for y, (r, c) in zip(labels, corners, strict=True)]
    return torch.stack(cut).float(), torch.stack(cut_labels).long()


def augment_patches(
    frames: torch.Tensor | Sequence[torch.Tensor],
    labels: torch.Tensor,
    offsets_px: torch.Tensor,
    patch_px: int,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Augmented patches, each with its own transform; arguments and result as in `cut_patches`.

    Args:
        settings: ranges of the transforms.
        generator: explicit random source, on the device of `frames`.
    """
    grid = _sampling_grid(len(frames), frames[0].shape[-1], offsets_px, patch_px, settings, generator)
    if isinstance(frames, torch.Tensor):
        patches = functional.grid_sample(frames, grid, padding_mode="reflection", align_corners=False)
    else:
        patches = _sample_one_by_one(frames, grid)
    moved = functional.grid_sample(
        labels[:, None].float(), grid, mode="nearest", padding_mode="reflection", align_corners=False
    )
    return change_intensities(patches, settings, generator), moved[:, 0].long()


def _sample_one_by_one(frames: Sequence[torch.Tensor], grid: torch.Tensor) -> torch.Tensor:
    """As `grid_sample` with reflection, but reading of each slice only the rectangle that its patch comes from."""
    size = frames[0].shape[-1]
    at = ((grid + 1) * size - 1) / 2
    at = size - (size - (at + 0.5).abs() % (2 * size)).abs() - 0.5  # reflected about the outer edges of the slice
    at = at.clamp(0, size - 1)
    first = at.amin(dim=(1, 2)).floor()
    last = (at.amax(dim=(1, 2)).floor() + 1).clamp(max=size - 1)
    inside = (2 * (at - first[:, None, None]) + 1) / (last - first + 1)[:, None, None] - 1
    patches = torch.empty(len(grid), frames[0].shape[0], *grid.shape[1:3])
    for i, ((left, top), (right, bottom)) in enumerate(zip(first.int().tolist(), last.int().tolist(), strict=True)):
        part = frames[i][:, top : bottom + 1, left : right + 1].float()[None]
        patches[i] = functional.grid_sample(part, inside[i : i + 1], padding_mode="border", align_corners=False)[0]
    return patches


def change_intensities(patches: torch.Tensor, settings: AugmentSettings, generator: torch.Generator) -> torch.Tensor:
    """The segmentation-invariant transforms: coil sensitivity, flat field, gamma, contrast, noise; never below 0."""
    patches = patches * _coil_gain(patches, settings, generator)  # from here on in place: memory is the bottleneck
    if settings.flat_field_p > 0:
        patches.mul_(_flat_field_gain(patches, settings, generator))
    gamma = _uniform(len(patches), settings.gamma, patches, generator)
    gamma = torch.where(_chance(len(patches), settings.gamma_p, patches, generator), gamma, 1.0)
    # x^gamma as exp(gamma log x): 0 has no logarithm, and below 1e-4 there is nothing but noise
    patches.clamp_(min=1e-4)
    if settings.gamma_p > 0:
        patches.log_().mul_(gamma[:, None, None, None]).exp_()
    patches.mul_(_uniform(len(patches), settings.contrast, patches, generator)[:, None, None, None])
    if settings.noise_sd[1] > 0:
        _add_noise(patches, _uniform(len(patches), settings.noise_sd, patches, generator), generator)
    return patches.clamp_(min=0.0)


def _add_noise(patches: torch.Tensor, sd: torch.Tensor, generator: torch.Generator) -> None:
    """White noise, in place. On a CPU drawing it takes as long as sampling the patch: there each patch takes its own
    stretch of a shared sequence that is a few patches long."""
    if patches.device.type != "cpu" or len(patches) <= N_NOISE_PATCHES:
        patches.addcmul_(
            torch.randn(patches.shape, generator=generator, device=patches.device), sd[:, None, None, None]
        )
        return
    size = patches[0].numel()
    sequence = torch.randn(N_NOISE_PATCHES * size, generator=generator)
    starts = torch.randint((N_NOISE_PATCHES - 1) * size, (len(patches),), generator=generator)
    for patch, start, scale in zip(patches, starts.tolist(), sd.tolist(), strict=True):
        patch.add_(sequence[start : start + size].view_as(patch), alpha=scale)


def _uniform(n: int, span: tuple[float, float], like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return span[0] + (span[1] - span[0]) * torch.rand(n, generator=generator, device=like.device)


def _chance(n: int, p: float, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=generator, device=like.device) < p


def _sampling_grid(
    n: int,
    image_px: int,
    offsets_px: torch.Tensor,
    patch_px: int,
    settings: AugmentSettings,
    generator: torch.Generator,
) -> torch.Tensor:
    """Where each pixel of each patch comes from: `slice row col (x y)` in grid_sample's [-1, 1]."""
    device = offsets_px.device
    radians = math.pi / 180.0
    turn, shear = settings.rotation_deg * radians, settings.shear_deg * radians
    angle = _uniform(n, (-turn, turn), offsets_px, generator)
    slant = torch.tan(_uniform(n, (-shear, shear), offsets_px, generator))
    zoom = _uniform(n, settings.scale, offsets_px, generator)
    shift = settings.translation_px * (2 * torch.rand(n, 2, generator=generator, device=device) - 1)
    centre = (image_px - 1) / 2
    steps = torch.arange(patch_px, device=device, dtype=torch.float32)
    rows = offsets_px[:, :1] + steps - centre - shift[:, :1]
    cols = offsets_px[:, 1:] + steps - centre - shift[:, 1:]
    x, y = cols[:, None, :], rows[:, :, None]
    # output -> source is the inverse: scale down, turn back, then shear
    cos, sin = (angle.cos() / zoom)[:, None, None], (angle.sin() / zoom)[:, None, None]
    turned_y = cos * y - sin * x
    turned_x = cos * x + sin * y + slant[:, None, None] * turned_y
    return torch.stack([turned_x, turned_y], dim=-1) * (2 / image_px)


def _coil_gain(patches: torch.Tensor, settings: AugmentSettings, generator: torch.Generator) -> torch.Tensor:
    """A smooth map `slice 1 row col`: exp of a random quadratic surface, as surface coils weight the chest."""
    n, size = len(patches), patches.shape[-1]
    x = torch.linspace(-1, 1, size, device=patches.device)
    surfaces = torch.stack([x.expand(size, size), x[:, None].expand(size, size)])
    surfaces = torch.cat([surfaces, surfaces[:1] ** 2, surfaces[1:] ** 2, surfaces[:1] * surfaces[1:]])
    weights = 2 * torch.rand(n, 5, generator=generator, device=patches.device) - 1
    weights = weights * torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5], device=patches.device)
    surface = torch.einsum("nk,kij->nij", weights, surfaces)
    reach = surface.abs().amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    strength = settings.coil_log_range * torch.rand(n, 1, 1, generator=generator, device=patches.device)
    return (strength * surface / reach).exp()[:, None]


def _flat_field_gain(patches: torch.Tensor, settings: AugmentSettings, generator: torch.Generator) -> torch.Tensor:
    """A map `slice 1 row col` that divides by the blurred temporal mean.

    MATLAB's `imflatfield` does so with each image by itself: J = I mean(blur) / blur.
    """
    n = len(patches)
    sigma = _uniform(n, settings.flat_field_sigma_px, patches, generator).clamp(min=0.1)
    size = patches.shape[-1]
    radius = min(math.ceil(3 * settings.flat_field_sigma_px[1]), size - 1)
    offsets = torch.arange(-radius, radius + 1, device=patches.device)
    kernel = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    blur = (kernel @ _reflected(size, radius, patches.device)).view(n, size, size)  # as matrices: faster than filters
    shading = (blur @ patches.mean(dim=1) @ blur.transpose(1, 2)).clamp(min=1e-4)
    gain = (shading.mean(dim=(1, 2), keepdim=True) / shading).clamp(1 / FLAT_FIELD_GAIN, FLAT_FIELD_GAIN)
    use = _chance(n, settings.flat_field_p, patches, generator)[:, None, None]
    return torch.where(use, gain, 1.0)[:, None]


@cache
def _reflected(size: int, radius: int, device: torch.device) -> torch.Tensor:
    """Where a filter's taps fall on an image reflected about its outer pixels: float32 `tap (row col)`, ones and zeros.

    A kernel times this is the matrix that filters a column of pixels.
    """
    at = torch.arange(size)[:, None] + torch.arange(-radius, radius + 1)
    at = (size - 1) - ((size - 1) - at.abs()).abs()
    return functional.one_hot(at, size).permute(1, 0, 2).reshape(2 * radius + 1, size * size).float().to(device)
