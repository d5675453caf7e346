"""How many patches go through a network at once: planned from free memory, halved when that was too many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

Item = TypeVar("Item")

CPU_BATCH = 8
"""Patches whose features stay in a processor's cache; `pool.engine.calibration` measures whether another is faster."""
GPU_SHARE = 0.5
"""Of free memory that a batch may take: the rest is for the convolutions' workspace and for other processes."""
MAPS_PER_INPUT = 16
"""Bytes alive in a forward pass over bytes of its input: 10 for the paper's U-Net, 3 for the compact one."""


def planned_batch(device: torch.device, patch_bytes: int, asked: int | None = None) -> int:
    """A batch that should fit.

    Args:
        device: where the network is.
        patch_bytes: of one patch in the network's data type [B].
        asked: most patches that are wanted; on a GPU fewer if its free memory holds fewer.
    """
    if device.type != "cuda":
        return asked or CPU_BATCH
    n_free_bytes, _ = torch.cuda.mem_get_info(device)
    fitting = max(1, int(GPU_SHARE * n_free_bytes / (MAPS_PER_INPUT * patch_bytes)))
    return min(asked or fitting, fitting)


class HalvingBatches:
    """Cuts work into even batches, and into smaller ones from the first that memory does not hold.

    Args:
        size: most items at once, to begin with.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def run(self, items: Sequence[Item], compute: Callable[[Sequence[Item]], torch.Tensor]) -> Iterator[torch.Tensor]:
        """Results of all items, batch by batch, in their order.

        Raises:
            torch.OutOfMemoryError: a single item is too much.
        """
        done = 0
        while done < len(items):
            left = len(items) - done
            n = math.ceil(left / math.ceil(left / self.size))
            try:
                result = compute(items[done : done + n])
            except torch.OutOfMemoryError:
                if n == 1:
                    raise
                self.size = n // 2
                result = None
            if result is None:
                torch.cuda.empty_cache()  # outside the handler, whose traceback still holds the failed batch
                continue
            done += n
            yield result
