import pytest
import torch

from pool.engine import Engine, EngineSettings
from pool.networks import NetworkSpec
from pool.patches import PatchBlock, PatchGrid
from tests.pool.engine.networks import lively_network, random_slice


def peak_mb(engine: Engine, block: PatchBlock, frames: torch.Tensor) -> float:
    """Most memory that torch held at once for a block, over what it held before [MB]."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        engine(block, frames)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak / 1e6


@pytest.mark.parametrize("sharing", [True, False])
def test_a_sweep_takes_little_memory_beside_the_weights(sharing: bool) -> None:
    engine, frames = (
        Engine(lively_network(NetworkSpec()), EngineSettings(batch_size=6, sharing=sharing)),
        random_slice(30, 128),
    )
    grid, cols_px = PatchGrid(), tuple(range(0, 22, 2))
    first = peak_mb(engine, PatchBlock(grid, (0,), cols_px), frames)
    assert 5 < first < 50  # the patches of a slice are 535 MB
    # Two more rows take no more than their answers: buffers are used again, and what is shared is there already.
    n_answer_mb = len(cols_px) * 3 * 64 * 64 * 4 / 1e6
    assert peak_mb(engine, PatchBlock(grid, (2, 4), cols_px), frames) < first + 4 * n_answer_mb
