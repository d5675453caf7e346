"""Alternating runs: each round runs every contender once, so that a busy machine is as unfair to one as to another."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Times:
    """Runs of one contender, in the order of the rounds."""

    wall_s: tuple[float, ...]
    """Elapsed time of each run [s]."""
    processor_s: tuple[float, ...]
    """Processor time of each run, all threads together [s]: on a busy machine it says more than elapsed time."""

    @property
    def median_s(self) -> float:
        """Median elapsed time [s]."""
        return statistics.median(self.wall_s)

    @property
    def spread_s(self) -> tuple[float, float]:
        """Shortest and longest elapsed time [s]."""
        return min(self.wall_s), max(self.wall_s)


def alternate(contenders: Mapping[str, Callable[[], object]], n_rounds: int, device: torch.device) -> dict[str, Times]:
    """Run everyone `n_rounds` times in turn; each has run before, to warm up."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(n_rounds):
        for name, run in contenders.items():
            _wait(device)
            wall, processor = time.perf_counter(), time.process_time()
            run()
            _wait(device)
            measured[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: Times(*zip(*runs)) for name, runs in measured.items()}


def paired_ratio(of: Times, over: Times, processor: bool = False) -> float:
    """Median over the rounds of one contender's time over another's in the same round."""
    pairs = zip(of.processor_s, over.processor_s) if processor else zip(of.wall_s, over.wall_s)
    return statistics.median(a / b for a, b in pairs)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
