"""A moving average of a network's weights: steadier than the last step's, at the price of one addition a step."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class WeightAverage:
    """Exponential moving average of weights and batch statistics (Polyak averaging, as in Tarvainen & Valpola 2017).

    The first steps are averaged over fewer: the decay is at most (1 + n) / (10 + n) after n steps.

    Args:
        network: whose weights are averaged; it is copied.
        decay: share of the old average that a step keeps, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay, self._n_steps = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the weights after one more step."""
        self._n_steps += 1
        decay = min(self._decay, (1 + self._n_steps) / (10 + self._n_steps))
        pairs = list(zip(self.network.state_dict().values(), network.state_dict().values(), strict=True))
        own, new = zip(*(pair for pair in pairs if pair[0].is_floating_point()))
        torch._foreach_lerp_(own, new, 1.0 - decay)  # as `torch.optim.swa_utils` does: one launch on a GPU, not 90
        for count, new_count in (pair for pair in pairs if not pair[0].is_floating_point()):
            count.copy_(new_count)

    def state(self) -> dict[str, Any]:
        """Everything an exact resume needs."""
        weights = {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}
        return {"network": weights, "n_steps": self._n_steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.network.load_state_dict(state["network"])
        self._n_steps = state["n_steps"]
