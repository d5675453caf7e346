from pathlib import Path

import numpy as np
import pytest
import torch

from pool.bench import race_measuring
from pool.bench.race_measuring import measure_races
from pool.errors import SettingsError, UnreadableFileError
from pool.manifest import MemberEntry, PoolManifest
from pool.member import Member, Pool
from pool.networks import NetworkSpec
from pool.race_measures import RaceMeasures
from pool.sweep import SweepSettings, frames_on, maps_of, plain_forward, refine
from tests.pool.engine.networks import lively_network, random_slice

SPEC = NetworkSpec(width=4, n_poolings=2, n_frames=5)
SWEEP = SweepSettings(patch_px=32, stride_px=2, mask_stride_px=4)


def pool_of(*specs: NetworkSpec) -> Pool:
    members = tuple(
        Member(MemberEntry(f"m{i}", 0, 1, 0.5, spec, "0" * 64), lively_network(spec, i)) for i, spec in enumerate(specs)
    )
    return Pool(PoolManifest("lively", tuple(member.entry for member in members)), members)


def some_slices() -> list[tuple[str, np.ndarray]]:
    return [(f"slice {i}", random_slice(5, 44, i).contiguous().numpy()) for i in range(3)]


@pytest.fixture(scope="module")
def measures() -> RaceMeasures:
    return measure_races(
        pool_of(SPEC, SPEC), some_slices(), ("float32", "bfloat16"), SWEEP, (16, 20, 33), slices_at_once=2
    )


def test_u_pp_over_first_patches_is_that_of_refined_sweeps(measures: RaceMeasures) -> None:
    assert measures.prefixes == (16, 20, 33, 49)
    for i in range(3):
        frames = frames_on("cpu", random_slice(5, 44, i).contiguous().numpy())
        for j, member in enumerate(pool_of(SPEC, SPEC).members):
            for k, n_patches in enumerate(measures.prefixes):
                moments = refine(plain_forward(member.network), frames, SWEEP, n_patches)
                assert moments is not None
                maps = maps_of(moments)
                assert measures.u_tot[0, i, j, k] == pytest.approx(maps.u_tot, rel=1e-4)
                assert measures.n_myo[0, i, j] == maps.n_myo
    assert 0 < np.abs(measures.u_tot[1] / measures.u_tot[0] - 1).max() < 0.3


def test_whole_slices_at_once_measure_the_same(measures: RaceMeasures, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on a GPU."""
    monkeypatch.setattr(race_measuring, "_OnProcessor", race_measuring._OnGpu)
    found = measure_races(pool_of(SPEC, SPEC), some_slices(), ("float32",), SWEEP, (16, 20, 33), slices_at_once=2)
    assert (np.abs(found.u_tot[0] / measures.u_tot[0] - 1) < 1e-4).all()
    assert np.array_equal(found.n_myo[0], measures.n_myo[0])


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CutOffError(Exception):
        pass

    def cut_off(done: int, _: int) -> None:
        if done == 2:
            raise CutOffError

    pool, calls = pool_of(SPEC), []
    with pytest.raises(CutOffError):
        measure_races(pool, some_slices(), ("float32",), SWEEP, (16,), 1, tmp_path, cut_off)
    sums = race_measuring._OnProcessor._sums
    monkeypatch.setattr(race_measuring._OnProcessor, "_sums", lambda *words: calls.append(1) or sums(*words))
    found = measure_races(pool, some_slices(), ("float32",), SWEEP, (16,), 1, tmp_path)
    assert len(calls) == 1  # one of three slices was left
    assert np.array_equal(found.u_tot, measure_races(pool, some_slices(), ("float32",), SWEEP, (16,)).u_tot)
    measure_races(pool, some_slices(), ("float32",), SWEEP, (16, 20), 1, tmp_path)
    assert len(calls) == 7  # other prefixes are measured anew


def test_measures_survive_a_file(measures: RaceMeasures, tmp_path: Path) -> None:
    measures.save(tmp_path / "m.npz")
    again = RaceMeasures.load(tmp_path / "m.npz")
    assert np.array_equal(again.u_pp, measures.u_pp)
    names = ("prefixes", "dtypes", "member_ids", "slice_names", "pool_sha256")
    assert all(getattr(again, name) == getattr(measures, name) for name in names)
    (tmp_path / "n.npz").write_bytes(b"no zip")
    with pytest.raises(UnreadableFileError, match=r"n.npz: must be what `python -m pool race-check` wrote"):
        RaceMeasures.load(tmp_path / "n.npz")


def test_networks_of_two_sizes_are_refused() -> None:
    other = NetworkSpec(width=8, n_poolings=2, n_frames=5)
    with pytest.raises(SettingsError, match="race check: takes U-Nets of one size; found a pool of several kinds"):
        measure_races(pool_of(SPEC, other), [("a", torch.zeros(5, 44, 44).numpy())], ("float32",), SWEEP, (16,))
