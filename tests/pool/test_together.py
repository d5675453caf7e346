import numpy as np
import pytest
import torch

from pool import together
from pool.engine.whole.sweep import WholeSettings
from pool.manifest import MemberEntry
from pool.member import Member
from pool.networks import NetworkSpec
from pool.networks.unet import UNet
from pool.preprocess import PreparedSlice, WayBack
from pool.strays import without_strays
from pool.sweep import SweepSettings, frames_on, maps_of, plain_forward, refine
from pool.together import DeviceSweep, SweptTogether, can_be_swept_together
from tests.pool.engine.networks import lively_network, random_slice

SWEEP = SweepSettings(patch_px=32, stride_px=2, mask_stride_px=4)
SPEC = NetworkSpec(width=8, n_poolings=2, n_frames=5)


def noise(seed: int) -> np.ndarray:
    return random_slice(5, 52, seed).contiguous().numpy()


def as_unet(network: torch.nn.Module) -> UNet:
    assert isinstance(network, UNet)
    return network


def test_every_member_and_slice_gets_the_maps_of_its_own_sweep() -> None:
    networks = [lively_network(SPEC, seed) for seed in range(3)]
    slices = [noise(seed) for seed in (1, 2)]
    seen: list[int] = []
    swept = SweptTogether(networks, SWEEP, 52, slices_at_once=2)
    found = swept(slices, lambda: seen.append(1))
    assert len(seen) == 3
    assert (
        swept.sweep.whole.how
        == "float32, shared work, 22 patches a batch, no fused convolutions (no GPU), eager (no GPU)"
    )
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
    (alone,) = swept(slices[1:])[1]
    assert np.abs(alone.uncertainty - found[1][1].uncertainty).max() < 1e-5


def test_bfloat16_is_near() -> None:
    networks, slices = [lively_network(SPEC)], [noise(1)]
    ((exact,),) = SweptTogether(networks, SWEEP, 52)(slices)
    ((near,),) = SweptTogether(networks, SWEEP, 52, WholeSettings("bfloat16"))(slices)
    assert 1e-5 < np.abs(near.uncertainty - exact.uncertainty).max() < 0.05


def test_only_equal_unets_on_a_gpu_are_swept_together() -> None:
    assert not can_be_swept_together([])
    assert not can_be_swept_together([torch.nn.Conv2d(5, 3, 1)])
    assert not can_be_swept_together([lively_network(SPEC)])  # on a processor the engine is faster


def test_sweeps_are_kept_ready_for_the_next_member_and_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `Member.analyse` does on a GPU gives what the members swept together give, byte for byte."""
    networks, slices = [lively_network(SPEC, seed) for seed in range(2)], [noise(seed) for seed in (1, 2)]
    ready = together.ReadySweeps()
    expected = SweptTogether(networks, SWEEP, 52)(slices)
    made: list[int] = []
    monkeypatch.setattr(together, "DeviceSweep", lambda *words: made.append(1) or DeviceSweep(*words))
    for i, network in enumerate(networks):
        for j, frames in enumerate(slices):
            found = ready.maps(as_unet(network), frames, SWEEP)
            assert np.array_equal(found.uncertainty, expected[i][j].uncertainty)
            assert np.array_equal(found.probability, expected[i][j].probability)
            assert (found.u_tot, found.n_myo) == (expected[i][j].u_tot, expected[i][j].n_myo)
    assert len(made) == 1
    other = lively_network(NetworkSpec(width=4, n_poolings=2, n_frames=5))
    for network in (other, networks[0], other):
        ready.maps(as_unet(network), slices[0], SWEEP)
    assert len(made) == 2  # both sizes stay ready
    ready.maps(as_unet(other), slices[0], SweepSettings(32, 4, 4))
    ready.maps(as_unet(networks[0]), slices[0], SWEEP)
    assert len(made) == 4  # the third one took the place of the one used longest ago


def test_members_on_a_gpu_are_swept_there(monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively_network(NetworkSpec(width=4, n_poolings=2))
    member = Member(MemberEntry("m", 0, 1, 0.5, NetworkSpec(width=4, n_poolings=2), "0" * 64), network)
    frames = random_slice(30, 52).contiguous().numpy()
    prepared = PreparedSlice("s", frames, WayBack((52, 52), 52, (0.0, 0.0), (1.0, 1.0)), (26, 26), (0, 1), (0, 29))
    expected = member.analyse(prepared, SWEEP)
    monkeypatch.setattr("pool.member.is_on_gpu", lambda _: True)
    assert member.analyse(prepared, SWEEP, lambda: False) is None
    found = member.analyse(prepared, SWEEP, lambda: True)
    assert expected is not None
    assert found is not None
    assert np.abs(found.uncertainty - expected.uncertainty).max() < 1e-5
