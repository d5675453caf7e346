import numpy as np
import pytest
import torch

from pool.engine.whole.sweep import WholeSettings
from pool.networks import NetworkSpec
from pool.strays import without_strays
from pool.sweep import SweepSettings, frames_on, maps_of, plain_forward, refine
from pool.together import SweptTogether, can_be_swept_together
from tests.pool.engine.networks import lively_network, random_slice

SWEEP = SweepSettings(patch_px=32, stride_px=2, mask_stride_px=4)
SPEC = NetworkSpec(width=8, n_poolings=2, n_frames=5)


def test_every_member_and_slice_gets_the_maps_of_its_own_sweep() -> None:
    networks = [lively_network(SPEC, seed) for seed in range(3)]
    slices = [random_slice(5, 44, seed).contiguous().numpy() for seed in (1, 2)]
    seen: list[int] = []
    together = SweptTogether(networks, SWEEP, 44)
    found = together(slices, seen.append)
    assert seen == [1, 2, 3]
    assert together.how == "float32, shared work, 28 patches a batch, no fused convolutions (no GPU), eager (no GPU)"
    for network, of_member in zip(networks, found, strict=True):
        for frames, maps in zip(slices, of_member, strict=True):
            moments = refine(plain_forward(network), frames_on("cpu", frames), SWEEP)
            assert moments is not None
            expected = maps_of(moments)
            assert np.abs(maps.uncertainty - expected.uncertainty).max() < 1e-5
            assert np.abs(maps.probability - expected.probability).max() < 1e-5
            assert (maps.mask == without_strays(maps.probability[1] >= 0.5)).all()
            assert maps.n_myo == maps.mask.sum()
            assert maps.u_tot == pytest.approx(expected.u_tot, rel=1e-4)
            assert (maps.mask.dtype, maps.uncertainty.dtype, maps.uncertainty[0, 0]) == (bool, np.float32, 0.0)
    (alone,) = together(slices[1:])[1]
    assert np.abs(alone.uncertainty - found[1][1].uncertainty).max() < 1e-5


def test_bfloat16_is_near() -> None:
    networks, slices = [lively_network(SPEC)], [random_slice(5, 44).contiguous().numpy()]
    ((exact,),) = SweptTogether(networks, SWEEP, 44)(slices)
    ((near,),) = SweptTogether(networks, SWEEP, 44, WholeSettings("bfloat16"))(slices)
    assert 1e-5 < np.abs(near.uncertainty - exact.uncertainty).max() < 0.05


def test_only_equal_unets_on_a_gpu_are_swept_together() -> None:
    assert not can_be_swept_together([])
    assert not can_be_swept_together([torch.nn.Conv2d(5, 3, 1)])
    assert not can_be_swept_together([lively_network(SPEC)])  # on a processor the engine is faster
