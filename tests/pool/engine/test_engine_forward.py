import re
from collections.abc import Callable

import pytest
import torch
from torch import nn

from pool.engine import Engine, EngineSettings
from pool.engine.forward import SharedSlice
from pool.errors import SettingsError
from pool.networks import PATCH_KIND, NetworkSpec
from pool.patch_order import ScatteredPatches
from pool.patches import PatchBlock, PatchGrid
from tests.pool.engine.networks import lively_network, random_slice


@torch.inference_mode()
def plain(network: nn.Module, block: PatchBlock, frames: torch.Tensor) -> torch.Tensor:
    return torch.softmax(network(block.patches(frames)), dim=1)


@pytest.mark.parametrize(
    ("n_poolings", "grid", "n_shared"),
    [
        (2, PatchGrid(44, 32, 2), 2),
        (3, PatchGrid(48, 32, 4), 2),
        (1, PatchGrid(24, 16, 2), 1),
        (2, PatchGrid(20, 12, 1), 1),  # odd offsets: the poolings of neighbours do not fall on the same pixels
        (2, PatchGrid(48, 16, 16), 0),
        (2, PatchGrid(20, 8, 2), 0),
    ],
)
def test_every_patch_is_what_the_network_says(n_poolings: int, grid: PatchGrid, n_shared: int) -> None:
    network = lively_network(NetworkSpec(PATCH_KIND, 4, n_poolings, n_frames=5))
    frames, block = random_slice(5, grid.image_px), grid.block()
    expected = plain(network, block, frames)
    engine = Engine(network)
    assert (engine(block, frames) - expected).abs().max() < 1e-5
    assert expected.std(dim=0).max() > 0.01  # patches differ, or the comparison would say nothing
    assert [n for _, n in engine._shared] == ([n_shared] if n_shared else [])
    unshared = Engine(network, EngineSettings(sharing=False, channels_last=False))
    assert (unshared(block, frames) - expected).abs().max() < 1e-5


def test_the_compact_network_on_its_own_patches() -> None:
    network, frames = lively_network(NetworkSpec()), random_slice(30, 128)
    block = PatchBlock(PatchGrid(), (0, 22, 64), (0, 2, 36, 50, 64))
    found = Engine(network)(block, frames)
    assert (found - plain(network, block, frames)).abs().max() < 1e-5


@pytest.mark.parametrize("sharing", [True, False])
def test_patches_anywhere_are_what_the_network_says(sharing: bool) -> None:
    network, frames, grid = lively_network(SMALL), random_slice(5, 40), PatchGrid(40, 32, 2)
    few = ((0, 2), (0, 8), (4, 6), (8, 0))
    many = tuple((row, col) for row in (0, 6) for col in (0, 2, 4, 6, 8))
    for places in (few, many):
        scattered = ScatteredPatches(grid, tuple(sorted(places)))
        expected = torch.softmax(
            network(torch.stack([frames[:, r : r + 32, c : c + 32] for r, c in scattered.places])), 1
        )
        engine = Engine(network, EngineSettings(sharing=sharing))
        assert (engine(scattered, frames) - expected).abs().max() < 1e-5
        assert bool(engine._shared) == (sharing and places is many)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_answers_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    network, frames, block = lively_network(SMALL), random_slice(5, 40), PatchGrid(40, 32, 2).block()
    reference = Engine(network)(block, frames)
    assert (Engine(network, EngineSettings(batch_size=batch_size))(block, frames) - reference).abs().max() < 1e-6


def test_blocks_of_any_rows_and_columns_and_another_slice() -> None:
    network, engine = lively_network(SMALL), Engine(lively_network(SMALL))
    grid = PatchGrid(40, 32, 2)
    for seed, rows, cols in ((1, (2, 8), (0, 6)), (1, (2,), (0, 2, 8)), (2, (2,), (0, 2, 8))):
        frames, block = random_slice(5, 40, seed), PatchBlock(grid, rows, cols)
        assert (engine(block, frames) - plain(network, block, frames)).abs().max() < 1e-5


def test_a_network_of_another_make_runs_as_it_is_with_its_norms_folded() -> None:
    own = nn.Sequential(
        nn.Conv2d(5, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Dropout(),
        nn.Conv2d(4, 3, 1, bias=False),
        nn.BatchNorm2d(3),
    ).eval()
    with torch.no_grad():
        own[1].running_var.fill_(3.0)
        own[4].running_mean.fill_(0.5)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    frames, block = random_slice(5, 40), PatchGrid(40, 32, 4).block()
    engine = Engine(own)
    assert (engine(block, frames) - plain(own, block, frames)).abs().max() < 1e-6
    assert not any(isinstance(module, nn.BatchNorm2d) for module in engine._module.modules())
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert isinstance(own[1], nn.BatchNorm2d)


@pytest.mark.parametrize("sharing", [True, False])
def test_bfloat16_is_near_float32_and_never_taken_unasked(sharing: bool) -> None:
    network, frames, block = lively_network(SMALL), random_slice(5, 36), PatchGrid(36, 32, 2).block()
    exact = plain(network, block, frames)
    rounded = Engine(network, EngineSettings("bfloat16", sharing=sharing))(block, frames)
    assert rounded.dtype == torch.float32
    assert 1e-5 < (rounded - exact).abs().max() < 0.1
    assert EngineSettings().dtype == "float32"
    for_other = nn.Conv2d(5, 3, 1)
    assert Engine(for_other, EngineSettings("bfloat16"))(block, frames).dtype == torch.float32
    assert for_other.weight.dtype == torch.float32


def test_a_failed_allocation_halves_the_batch_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    network, frames, block = lively_network(SMALL), random_slice(5, 40), PatchGrid(40, 32, 2).block()
    expected = plain(network, block, frames)
    monkeypatch.setattr(SharedSlice, "logits", failing_above(2, SharedSlice.logits))
    assert (Engine(network, EngineSettings(batch_size=5))(block, frames) - expected).abs().max() < 1e-5
    monkeypatch.setattr(SharedSlice, "logits", failing_above(0, SharedSlice.logits))
    with pytest.raises(torch.OutOfMemoryError):
        Engine(network)(block, frames)


def failing_above(n: int, logits: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def fails(shared: SharedSlice, row_px: int, cols_px: tuple[int, ...]) -> torch.Tensor:
        if len(cols_px) > n:
            raise torch.OutOfMemoryError
        return logits(shared, row_px, cols_px)

    return fails


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "float16"}, "engine: dtype must be one of float32, tf32, bfloat16; found 'float16'."),
        ({"batch_size": 0}, "engine: batch_size must be at least 1; found 0."),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        EngineSettings(**fields)  # type: ignore[arg-type]


SMALL = NetworkSpec(width=4, n_poolings=2, n_frames=5)


@pytest.mark.parametrize("sharing", [True, False])
def test_a_caller_who_casts_automatically_gets_the_same_numbers(sharing: bool) -> None:
    grid, settings = PatchGrid(44, 32, 2), EngineSettings(sharing=sharing)
    network, frames = lively_network(NetworkSpec(width=4, n_poolings=2, n_frames=5)), random_slice(5, 44)
    expected = Engine(network, settings)(grid.block(), frames)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Engine(network, settings)(grid.block(), frames), expected)
