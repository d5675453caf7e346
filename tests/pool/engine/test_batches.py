from collections.abc import Sequence

import pytest
import torch

from pool.engine.batches import CPU_BATCH, HalvingBatches, planned_batch


class Memory:
    """Holds batches of so many items and notes what was asked of it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []

    def __call__(self, items: Sequence[int]) -> torch.Tensor:
        self.asked.append(len(items))
        if len(items) > self.most:
            raise torch.OutOfMemoryError("no room")
        return torch.tensor(items)


@pytest.mark.parametrize(
    ("size", "most", "asked"),
    [
        (8, 8, [7, 7, 6]),  # even parts instead of 8, 8, 4
        (100, 100, [20]),
        (16, 5, [10, 5, 5, 5, 5]),
        (4, 1, [4, 2, *[1] * 20]),
    ],
)
def test_batches_are_halved_until_they_fit_and_stay_so(size: int, most: int, asked: list[int]) -> None:
    memory, items = Memory(most), list(range(20))
    assert torch.cat(list(HalvingBatches(size).run(items, memory))).tolist() == items
    assert memory.asked == asked


def test_an_item_that_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        list(HalvingBatches(4).run([1, 2, 3], Memory(0)))


def test_a_batch_on_a_gpu_is_planned_from_its_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3_200_000_000, 80_000_000_000))
    cuda, patch_bytes = torch.device("cuda"), 500_000
    assert planned_batch(cuda, patch_bytes) == 200  # half of 3.2 GB, 16 times 0.5 MB a patch
    assert planned_batch(cuda, patch_bytes, asked=33) == 33
    assert planned_batch(cuda, patch_bytes, asked=1089) == 200
    assert planned_batch(cuda, 10**12) == 1
    assert planned_batch(torch.device("cpu"), patch_bytes) == CPU_BATCH
    assert planned_batch(torch.device("cpu"), patch_bytes, asked=1089) == 1089
