"""What training minimises: pure functions of logits and labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over all pixels, unweighted (Yalcinkaya et al. 2024, Methods).

    Args:
        logits: float `patch class row col`.
        labels: int64 `patch row col`.
    """
    return functional.cross_entropy(logits.float(), labels)


LOSSES: dict[str, LossFunction] = {"cross-entropy": cross_entropy}
