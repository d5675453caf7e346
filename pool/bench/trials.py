"""`python -m pool bench --trials N`: Monte-Carlo trials on one image, by batch size (Do et al. 2020, Figure S6)."""

from __future__ import annotations

import argparse
import io
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from pool.bench.timing import alternate
from pool.engine.machine import Machine
from pool.errors import SettingsError
from pool.figures.trials_speed import draw_batch_scores, draw_batch_times
from pool.networks import NetworkSpec, build_network
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import DropoutSampler
from pool.trials.settings import TrialSettings

NETWORKS = {
    "compact": NetworkSpec(kind="mcd-unet", width=16, n_poolings=3, n_frames=1),
    "paper": NetworkSpec(kind="mcd-unet", width=64, n_poolings=4, n_frames=1),
}
IMAGE_PX = 96
BATCH_SIZES = (1, 5, 10, 20, 50)


@dataclass(frozen=True)
class BatchSpeed:
    """All trials on one image with one batch size."""

    batch_size: int
    median_s: float
    """Elapsed time, median over the rounds [s]."""
    spread_s: tuple[float, float]
    """Shortest and longest [s]."""
    mcd_uncertainty: float | None
    """Of the untrained network's answer: the same for every batch size but for rounding; None for an empty mask."""


@dataclass(frozen=True)
class TrialsReport:
    """How fast trials are here."""

    network: str
    n_trials: int
    image_px: int
    batches: tuple[BatchSpeed, ...]
    machine: Machine

    def in_words(self) -> str:
        """A line a batch size."""
        start = f"{self.n_trials} trials of the {self.network} mcd-unet on one {self.image_px} x {self.image_px} image"
        lines = [f"{start}, {self.machine.n_threads} threads, {self.machine.instructions}"]
        for one in self.batches:
            low, high = one.spread_s
            score = "none" if one.mcd_uncertainty is None else f"{one.mcd_uncertainty:.6f}"
            times = f"{one.median_s:.2f} s (from {low:.2f} to {high:.2f})"
            lines.append(f"  batch {one.batch_size:4d}: {times}, MCD Uncertainty {score}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        batches = [vars(one) | {"spread_s": list(one.spread_s)} for one in self.batches]
        fields = {"network": self.network, "n_trials": self.n_trials, "image_px": self.image_px}
        return {**fields, "batches": batches, "machine": self.machine.to_dict()}


def trials_figure(report: TrialsReport) -> bytes:
    """Time and score by batch size as a picture (PNG)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, buffer = Figure(figsize=(7.8, 3.4), layout="constrained"), io.BytesIO()
    left, right = figure.subplots(1, 2)
    sizes = [one.batch_size for one in report.batches]
    draw_batch_times(sizes, [one.median_s for one in report.batches], [one.spread_s for one in report.batches], left)
    draw_batch_scores(sizes, [one.mcd_uncertainty for one in report.batches], right)
    device = report.machine.gpu or f"{report.machine.n_threads} threads, {report.machine.instructions}"
    figure.suptitle(f"{report.n_trials} trials of the {report.network} mcd-unet, {device}", fontsize=9)
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()


def add_trials_options(command: argparse.ArgumentParser) -> None:
    """Add what `measure_trials` takes to the options of `bench`."""
    command.add_argument(
        "--trials",
        type=int,
        help="instead: time so many Monte-Carlo trials of the dropout U-Net on one ASL-sized image",
    )
    command.add_argument(
        "--batch-sizes",
        default=",".join(map(str, BATCH_SIZES)),
        help="with --trials: trials in one forward pass, several to compare (default %(default)s)",
    )


def batch_sizes_of(text: str) -> tuple[int, ...]:
    """The batch sizes of a comma-separated list.

    Raises:
        SettingsError: what is not whole numbers.
    """
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError as error:
        raise SettingsError("bench", "--batch-sizes must be whole numbers with commas between", repr(text)) from error


def measure_trials(
    network: str, n_trials: int, batch_sizes: tuple[int, ...], n_rounds: int, device: torch.device
) -> TrialsReport:
    """Time all trials on one image, batch size by batch size in turn.

    Args:
        network: of `NETWORKS`, untrained.
        n_trials: in all.
        batch_sizes: to compare.
        n_rounds: runs of each.
        device: where.

    Raises:
        SettingsError: counts out of range.
    """
    sampler = DropoutSampler(build_network(NETWORKS[network], torch.Generator().manual_seed(0)).to(device))
    image = np.random.default_rng(0).standard_normal((1, IMAGE_PX, IMAGE_PX)).astype(np.float32)
    settings = [TrialSettings(n_trials, batch_size=size) for size in batch_sizes]

    def answer(one: TrialSettings) -> TrialMaps:
        sums = run_trials(sampler, image, one)
        assert sums is not None  # only `keep_going` makes it None
        return TrialMaps.of(sums)

    scores = {one.batch_size: answer(one).mcd_uncertainty for one in settings}
    times = alternate({str(one.batch_size): partial(answer, one) for one in settings}, n_rounds, device)
    batches = [BatchSpeed(size, times[str(size)].median_s, times[str(size)].spread_s, scores[size]) for size in scores]
    return TrialsReport(network, n_trials, IMAGE_PX, tuple(batches), Machine.here(device))
