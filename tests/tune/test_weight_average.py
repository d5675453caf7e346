from __future__ import annotations

import torch
from torch import nn

from tune.weight_average import WeightAverage


def test_average_by_hand_and_the_network_itself_is_left_alone() -> None:
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = WeightAverage(network, decay=0.5)
    for value in (2.0, 4.0):
        network.weight.data.fill_(value)
        average.update(network)
    # decays 2 / 11 and 3 / 12, both under 0.5: 1 -> 20 / 11 -> 0.25 * 20 / 11 + 0.75 * 4
    assert torch.isclose(average.network.weight.squeeze(), torch.tensor(0.25 * 20 / 11 + 3.0))
    assert network.weight.item() == 4.0
    assert not average.network.weight.requires_grad


def test_batch_statistics_are_averaged_and_counts_copied() -> None:
    network = nn.BatchNorm2d(1)
    average = WeightAverage(network, decay=0.999)
    network(torch.full((2, 1, 2, 2), 10.0))
    average.update(network)
    assert average.network.num_batches_tracked == 1
    assert torch.isclose(average.network.running_mean, torch.tensor([9.0 / 11]))
