import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pool.engine import Engine, EngineSettings, fused
from pool.engine.operations import engine_operations, plain_operations
from pool.networks import NetworkSpec
from pool.patches import PatchGrid
from tests.pool.engine.networks import lively_network, random_slice

SPEC = NetworkSpec(width=4, n_poolings=2, n_frames=5)
GRID = PatchGrid(48, 32, 4)


@pytest.mark.parametrize(
    ("spec", "grid"), [(SPEC, GRID), (NetworkSpec(width=4, n_poolings=1, n_frames=3), PatchGrid(20, 16, 1))]
)
@pytest.mark.parametrize("sharing", [True, False])
def test_counts_are_those_of_torch(
    spec: NetworkSpec, grid: PatchGrid, sharing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "_is_fused", lambda *_: False)  # torch's counter does not know the fused operations
    engine = Engine(lively_network(spec), EngineSettings(sharing=sharing))
    with FlopCounterMode(display=False) as counter:
        engine(grid.block(), random_slice(spec.n_frames, grid.image_px))
    assert counter.get_total_flops() == engine_operations(spec, grid, sharing).total


def test_plain_counts_are_those_of_torch() -> None:
    network, block = lively_network(SPEC), GRID.block()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(block.patches(random_slice(5, 48)))
    assert counter.get_total_flops() == plain_operations(SPEC, GRID).total


def test_what_sharing_saves_on_a_slice() -> None:
    plain, shared = plain_operations(NetworkSpec(), PatchGrid()), engine_operations(NetworkSpec(), PatchGrid())
    assert plain.total == pytest.approx(351e9, rel=0.002)
    assert shared.total == pytest.approx(224e9, rel=0.002)
    assert (
        shared.encoder[0] / plain.encoder[0] < 0.13
    )  # 88 % of the first level is interior, and border strips are shared
    assert shared.encoder[2:] == plain.encoder[2:]
