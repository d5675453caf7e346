from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from tune.augment import augment_patches, change_intensities, cut_patches
from tune.augment_settings import AugmentSettings

GEOMETRY_ONLY = AugmentSettings(
    flat_field_p=0.0, gamma_p=0.0, contrast=(1.0, 1.0), noise_sd=(0.0, 0.0), coil_log_range=0.0
)
STILL = dataclasses.replace(GEOMETRY_ONLY, rotation_deg=0.0, shear_deg=0.0, translation_px=0.0, scale=(1.0, 1.0))


def discs(n: int, radius_px: float = 15.0) -> tuple[torch.Tensor, torch.Tensor]:
    rows, cols = np.mgrid[0:128, 0:128]
    inside = np.hypot(rows - 63.5, cols - 63.5) < radius_px
    labels = torch.from_numpy(inside.astype(np.uint8)).expand(n, -1, -1)
    return labels[:, None].float().expand(-1, 5, -1, -1).contiguous(), labels.contiguous()


def corners(n: int, row: int = 32, col: int = 32) -> torch.Tensor:
    return torch.tensor([[row, col]] * n)


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_any_range_a_patch_is_cut_as_it_is() -> None:
    made = generator(3)
    frames, labels = (
        torch.rand(4, 5, 128, 128, generator=made) + 0.01,
        torch.randint(0, 3, (4, 128, 128), generator=made),
    )
    offsets = torch.tensor([[0, 0], [0, 64], [64, 32], [32, 64]])
    plain = cut_patches(frames, labels.to(torch.uint8), offsets, 64)
    augmented = augment_patches(frames, labels.to(torch.uint8), offsets, 64, STILL, generator())
    torch.testing.assert_close(augmented[0], plain[0], atol=2e-5, rtol=0)
    assert torch.equal(augmented[1], plain[1])
    assert torch.equal(plain[1][2], labels[2, 64:128, 32:96])


@pytest.mark.parametrize("patch_px", [16, 64])
def test_slices_read_in_part_give_the_same_patches_as_whole_ones(patch_px: int) -> None:
    made = generator(4)
    frames = torch.rand(32, 4, 128, 128, generator=made).half()
    labels = torch.randint(0, 3, (32, 128, 128), generator=made, dtype=torch.uint8)
    offsets = torch.randint(0, 129 - patch_px, (32, 2), generator=made)  # corners too, whose rotation is reflected
    offsets[:2] = torch.tensor([[0, 0], [128 - patch_px, 128 - patch_px]])
    whole = augment_patches(frames.float(), labels, offsets, patch_px, AugmentSettings(), generator())
    parts = augment_patches(list(frames), labels, offsets, patch_px, AugmentSettings(), generator())
    torch.testing.assert_close(parts[0], whole[0], atol=5e-5, rtol=0)
    assert torch.equal(parts[1], whole[1])
    plain = cut_patches(list(frames), labels, offsets, patch_px)
    assert torch.equal(plain[0], cut_patches(frames.float(), labels, offsets, patch_px)[0])


def test_a_disc_stays_a_disc_under_label_and_image() -> None:
    n, radius_px = 32, 15.0
    frames, labels = discs(n, radius_px)
    patches, moved = augment_patches(frames, labels, corners(n), 64, GEOMETRY_ONLY, generator())
    for frame, label in zip(patches[:, 2], moved, strict=True):
        overlap = ((frame > 0.5) & (label == 1)).sum() * 2 / ((frame > 0.5).sum() + (label == 1).sum())
        assert overlap > 0.97
        area = float((label == 1).sum()) / (np.pi * radius_px**2)
        assert 0.8**2 * 0.95 < area < 1.2**2 * 1.05
        row, col = (float(axis.float().mean()) for axis in torch.nonzero(label == 1, as_tuple=True))
        assert abs(row - 31.5) <= 2.5
        assert abs(col - 31.5) <= 2.5


def test_rotation_turns_by_no_more_than_its_range_and_scale_enlarges() -> None:
    frames, labels = torch.zeros(64, 1, 128, 128), torch.zeros(64, 128, 128, dtype=torch.uint8)
    labels[:, 62:66, 64:90] = 1  # a hand that points along the columns
    turning = dataclasses.replace(STILL, rotation_deg=60.0)
    _, moved = augment_patches(frames, labels, corners(64), 64, turning, generator())
    angles = []
    for label in moved:
        rows, cols = torch.nonzero(label, as_tuple=True)
        angles.append(np.degrees(np.arctan2(float(rows.float().mean()) - 31.5, float(cols.float().mean()) - 31.5)))
    assert -62 < min(angles) < -45
    assert 45 < max(angles) < 62
    frames, labels = discs(1)
    _, larger = augment_patches(
        frames, labels, corners(1), 64, dataclasses.replace(STILL, scale=(1.2, 1.2)), generator()
    )
    assert float(larger.sum()) / float(labels.sum()) == pytest.approx(1.44, rel=0.03)


def test_intensities_change_but_stay_finite_and_never_negative() -> None:
    patches = torch.rand(16, 30, 64, 64, generator=generator(2))
    patches[0] = 0.0
    changed = change_intensities(patches, AugmentSettings(), generator())
    assert torch.isfinite(changed).all()
    assert (changed >= 0).all()
    assert not torch.allclose(changed[1:], patches[1:], atol=0.05)


def test_flat_field_removes_shading_but_not_the_passage() -> None:
    passage = torch.linspace(0.2, 1.0, 10)[None, :, None, None]
    shading = torch.linspace(0.5, 1.0, 64)[None, None, None, :]
    flat = dataclasses.replace(STILL, flat_field_p=1.0, flat_field_sigma_px=(5.0, 5.0))
    corrected = change_intensities((passage * shading).expand(1, 10, 64, 64), flat, generator())
    inner = corrected[0, :, 20:-20, 20:-20]
    assert float(inner[5].std() / inner[5].mean()) < 0.01
    torch.testing.assert_close(inner.mean((1, 2)) / inner[-1].mean(), passage[0, :, 0, 0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("n", [2, 40])
def test_noise_is_white_of_the_wanted_strength_and_another_in_every_patch(n: int) -> None:
    settings = dataclasses.replace(STILL, noise_sd=(0.02, 0.02))
    noise = change_intensities(torch.full((n, 8, 64, 64), 0.5), settings, generator()) - 0.5
    assert noise.std(dim=(1, 2, 3)).numpy() == pytest.approx(0.02, rel=0.03)
    assert noise.mean(dim=(1, 2, 3)).abs().max() < 0.02 * 4 / (8 * 64 * 64) ** 0.5
    for axis in (1, 2, 3):
        neighbours = (noise * noise.roll(1, axis)).mean(dim=(1, 2, 3))
        assert neighbours.abs().max() < 0.03 * 0.02**2
    between = torch.corrcoef(noise.flatten(1)) - torch.eye(n)
    assert between.abs().max() < 0.1


def test_the_flat_field_is_a_gaussian_filter_of_the_temporal_mean() -> None:
    settings = dataclasses.replace(STILL, flat_field_p=1.0, flat_field_sigma_px=(2.0, 2.0))
    patches = 0.5 + torch.rand(3, 6, 64, 64, generator=generator())
    shading = ndimage.gaussian_filter(patches.mean(dim=1).numpy(), (0, 2, 2), mode="mirror", radius=6)
    expected = patches.numpy() * (shading.mean(axis=(1, 2), keepdims=True) / shading)[:, None]
    assert change_intensities(patches, settings, generator()).numpy() == pytest.approx(expected, rel=1e-5)


def test_the_same_generator_gives_the_same_patches_and_the_global_state_never_moves() -> None:
    frames, labels = discs(3)
    before = torch.random.get_rng_state()
    first = augment_patches(frames, labels, corners(3), 64, AugmentSettings(), generator(5))
    again = augment_patches(frames, labels, corners(3), 64, AugmentSettings(), generator(5))
    assert torch.equal(first[0], again[0])
    assert torch.equal(torch.random.get_rng_state(), before)
