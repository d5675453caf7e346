"""How much of a training's time the network has: the real loop against the same network on tensors that lie ready."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from pool.errors import SettingsError
from tune.samples import Samples, draw_batches, seeded_generator
from tune.settings import TrainingSettings
from tune.training import SeedTraining

TARGET_SHARE = 0.85
"""Of the network's own speed that a training should reach."""
N_READY_BATCHES = 4
"""Different batches in memory, used in turn."""


@dataclass(frozen=True)
class Throughput:
    """Speeds of pairs of runs, one after the other, so that a busy machine slows both alike."""

    real_patches_per_s: tuple[float, ...]
    """Of the training as it is: reading, cutting, augmenting, network and optimiser; without validation."""
    ready_patches_per_s: tuple[float, ...]
    """Of network and optimiser alone."""

    @property
    def share(self) -> float:
        """Real over ready, the median of the pairs; the rest of the time goes into making patches."""
        pairs = zip(self.real_patches_per_s, self.ready_patches_per_s, strict=True)
        return statistics.median(real / ready for real, ready in pairs)


def measure_throughput(
    settings: TrainingSettings,
    samples: Samples,
    device: str = "cpu",
    n_steps: int = 20,
    n_pairs: int = 5,
    on_pair: Callable[[float, float], None] | None = None,
) -> Throughput:
    """Train, in pairs of an epoch of the real loop and as many steps on ready tensors.

    Args:
        settings: the recipe; its epochs are cut to some `n_steps` steps.
        samples: labelled slices, in the memory of `device`.
        device: `cpu` or `cuda`.
        n_steps: least steps of each run of a pair.
        n_pairs: pairs that count; one before them warms up.
        on_pair: called with both speeds after every pair that counts.

    Raises:
        SettingsError: no pairs or steps, or samples that do not suit the settings.
    """
    if n_steps < 1 or n_pairs < 1:
        raise SettingsError("throughput", "needs at least one step and one pair", f"{n_steps} steps, {n_pairs} pairs")
    n_slices = len(samples.split(settings).training)
    settings = replace(
        settings,
        n_patches_per_slice=-(-n_steps * settings.batch_size // n_slices),
        n_epochs=n_pairs + 1,
        n_checkpoints=1,
        patience_epochs=0,
        n_validation_slices=1,
    )
    training = SeedTraining(settings, 1, samples, samples.split(settings), device)
    ready = _ready_batches(training)
    real_speeds, ready_speeds = [], []
    for report in training.epochs():
        speed = _speed_on_ready(training, ready)
        if report.epoch == 1:
            continue
        real_speeds.append(report.n_patches_per_s)
        ready_speeds.append(speed)
        if on_pair is not None:
            on_pair(report.n_patches_per_s, speed)
    return Throughput(tuple(real_speeds), tuple(ready_speeds))


def _ready_batches(training: SeedTraining) -> list[tuple[torch.Tensor, torch.Tensor]]:
    order = seeded_generator("order", training.seed)
    augmentation = seeded_generator("augment", training.seed, device=training.device)
    drawn = draw_batches(training.split.training, training.settings, training.samples.image_px, order, training.device)
    return [training.cut(*batch, augmentation) for batch, _ in zip(drawn, range(N_READY_BATCHES), strict=False)]


def _speed_on_ready(training: SeedTraining, ready: list[tuple[torch.Tensor, torch.Tensor]]) -> float:
    training.network.train()  # the validation before has switched it
    loss_sum, started_s = torch.zeros((), device=training.device), time.perf_counter()
    for i in range(training.n_steps_per_epoch):
        loss_sum += training.take_step(*ready[i % len(ready)], training.settings.learning_rate)
    loss_sum.item()  # a GPU is done only now
    return training.n_steps_per_epoch * training.settings.batch_size / (time.perf_counter() - started_s)
