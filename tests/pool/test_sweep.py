import numpy as np
import pytest
import torch
from torch import nn

from pool.errors import SettingsError
from pool.networks import NetworkSpec, build_network
from pool.shapes import MYOCARDIUM
from pool.sweep import MemberMaps, SweepSettings, sweep

SMALL = SweepSettings(patch_px=4, stride_px=2, mask_stride_px=2)


class ByFirstPixel(nn.Module):
    """Says for a whole patch that p(myocardium) is the value of its first pixel in the first frame."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(1))

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        p = patches[:, 0, 0, 0].clamp(1e-7, 1 - 1e-7)
        logits = torch.zeros(len(patches), 3, *patches.shape[2:])
        logits[:, MYOCARDIUM] = torch.log(2 * p / (1 - p))[:, None, None]  # the others are 0: softmax gives p back
        return logits


def frames_saying(p: list[list[float]]) -> np.ndarray:
    """A 6 x 6 slice whose four patches (first pixels at 0 and 2) carry the given probabilities."""
    frames = np.zeros((1, 6, 6), dtype=np.float32)
    frames[0, 0:4:2, 0:4:2] = p
    return frames


def run(network: nn.Module, frames: np.ndarray, settings: SweepSettings) -> MemberMaps:
    maps = sweep(network, frames, settings)
    assert maps is not None
    return maps


def test_mean_and_standard_deviation_worked_out_by_hand() -> None:
    maps = run(ByFirstPixel(), frames_saying([[0.1, 0.5], [0.7, 0.9]]), SMALL)
    # Corners see one patch, edges two, the centre all four.
    assert maps.probability[1, 0] == pytest.approx([0.1, 0.1, 0.3, 0.3, 0.5, 0.5], abs=1e-6)
    assert maps.probability[1, 2] == pytest.approx([0.4, 0.4, 0.55, 0.55, 0.7, 0.7], abs=1e-6)
    assert maps.uncertainty[0] == pytest.approx([0, 0, 0.2, 0.2, 0, 0], abs=1e-6)
    # The centre: p = 0.1 0.5 0.7 0.9, mean 0.55, variance (0.2025 + 0.0025 + 0.0225 + 0.1225) / 4 = 0.0875.
    assert maps.uncertainty[2, 2] == pytest.approx(np.sqrt(0.0875), abs=1e-6)
    assert maps.mask[0].tolist() == [False, False, False, False, True, True]  # 0.5 belongs to the mask
    # Four pixels each: top 0.2, left 0.3, right 0.2, bottom 0.1 and the centre.
    u_tot = 4 * (0.2**2 + 0.3**2 + 0.2**2 + 0.1**2 + 0.0875)
    assert maps.u_tot == pytest.approx(u_tot, abs=1e-5)
    # Mask: left middle 0.4 no; centre, right, bottom and three corners but the first.
    assert maps.n_myo == 4 + 4 + 4 + 3 * 4
    assert maps.u_pp == pytest.approx(u_tot / 24, abs=1e-6)


def test_greatest_disagreement_is_one_half() -> None:
    maps = run(ByFirstPixel(), frames_saying([[0.0, 1.0], [1.0, 0.0]]), SMALL)
    assert maps.uncertainty.max() == pytest.approx(0.5, abs=1e-5)


def test_a_constant_predictor_is_certain_everywhere() -> None:
    maps = run(ByFirstPixel(), frames_saying([[0.3, 0.3], [0.3, 0.3]]), SMALL)
    assert maps.uncertainty.max() < 1e-6
    assert maps.u_pp is None  # nothing reaches 0.5: an empty mask has no mean uncertainty
    assert maps.n_myo == 0


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return build_network(NetworkSpec(width=4, n_poolings=2, n_frames=5), torch.Generator().manual_seed(3)).eval()


@pytest.fixture(scope="module")
def slice_frames() -> np.ndarray:
    return np.random.default_rng(1).random((5, 48, 48), dtype=np.float32)


SETTINGS = SweepSettings(patch_px=16, stride_px=2, mask_stride_px=8)


@pytest.mark.parametrize("batch_size", [1, 5, 17, 1000])
def test_maps_do_not_depend_on_the_batch_size(network: nn.Module, slice_frames: np.ndarray, batch_size: int) -> None:
    reference = run(network, slice_frames, SETTINGS)
    other = run(network, slice_frames, SweepSettings(16, 2, 8, batch_size))
    assert np.abs(other.probability - reference.probability).max() < 1e-6
    assert np.abs(other.uncertainty - reference.uncertainty).max() < 1e-6
    assert other.u_tot == pytest.approx(reference.u_tot, rel=1e-6)


def test_running_moments_are_the_moments_of_the_stored_samples(network: nn.Module, slice_frames: np.ndarray) -> None:
    maps = run(network, slice_frames, SETTINGS)
    fine, coarse = _stored(network, slice_frames, 2), _stored(network, slice_frames, 8)
    assert np.abs(maps.uncertainty - np.nanstd(fine[:, MYOCARDIUM], axis=0)).max() < 1e-6
    assert np.abs(maps.probability - np.nanmean(coarse, axis=0)).max() < 1e-6


def test_one_shared_sweep_equals_two_separate_ones(network: nn.Module, slice_frames: np.ndarray) -> None:
    shared = run(network, slice_frames, SETTINGS)
    only_mask = run(network, slice_frames, SweepSettings(16, 8, 8))
    only_u_map = run(network, slice_frames, SweepSettings(16, 2, 2))
    assert np.abs(shared.probability - only_mask.probability).max() < 1e-6
    assert np.abs(shared.uncertainty - only_u_map.uncertainty).max() < 1e-6


def test_corners_are_certain_because_one_patch_covers_them(network: nn.Module, slice_frames: np.ndarray) -> None:
    uncertainty = run(network, slice_frames, SETTINGS).uncertainty
    assert [uncertainty[r, c] for r in (0, -1) for c in (0, -1)] == [0.0] * 4
    assert uncertainty.max() > 0


def test_a_sweep_can_be_stopped(network: nn.Module, slice_frames: np.ndarray) -> None:
    asked: list[int] = []
    assert sweep(network, slice_frames, SETTINGS, lambda: not asked.append(1) and len(asked) < 3) is None
    assert len(asked) == 3


def test_strides_that_share_no_patches_are_refused() -> None:
    with pytest.raises(SettingsError, match="mask_stride_px must be a multiple of stride_px 4; found 2"):
        SweepSettings(stride_px=4, mask_stride_px=2)
    with pytest.raises(SettingsError, match="batch_size must be at least 1; found 0"):
        SweepSettings(batch_size=0)


@torch.inference_mode()
def _stored(network: nn.Module, frames: np.ndarray, stride: int) -> np.ndarray:
    """All patches' answers, kept: `patch class row col` with NaN outside the patch."""
    answers = []
    for row in range(0, 48 - 16 + 1, stride):
        for col in range(0, 48 - 16 + 1, stride):
            patch = torch.from_numpy(frames[None, :, row : row + 16, col : col + 16])
            canvas = np.full((3, 48, 48), np.nan)
            canvas[:, row : row + 16, col : col + 16] = torch.softmax(network(patch), 1)[0].numpy()
            answers.append(canvas)
    return np.stack(answers)
