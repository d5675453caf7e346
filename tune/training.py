"""Training of one seed in plain torch: no Ray, no MLflow. Exact to resume: the same bits as if never stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from pool.evaluation.overlap import dice
from pool.networks import build_network
from pool.shapes import MYOCARDIUM
from pool.sweep import SweepSettings, sweep
from tune.augment import augment_patches, cut_patches
from tune.errors import TrainingError
from tune.losses import loss_function
from tune.precision import autocast, resolve_precision
from tune.reports import EpochReport, StepProgress
from tune.samples import Samples, Split, draw_batches, n_steps_per_epoch, seeded_generator
from tune.settings import TrainingSettings
from tune.start import StartPool
from tune.suitable import refuse_unsuitable
from tune.weight_average import WeightAverage


class SeedTraining:
    """The training of one seed, epoch by epoch.

    Args:
        settings: the recipe.
        seed: decides initialisation, order of the patches and augmentation.
        samples: labelled slices, in the memory of `device`.
        split: which slices train and which validate.
        device: `cpu` or `cuda`.
        start: the pool that the weights come from; None draws them.

    Raises:
        SettingsError: a set that the recipe cannot train on, see `refuse_unsuitable`.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        seed: int,
        samples: Samples,
        split: Split,
        device: str = "cpu",
        start: StartPool | None = None,
    ) -> None:
        refuse_unsuitable(samples, split, settings)
        self.settings, self.seed, self.samples, self.split, self.device = settings, seed, samples, split, device
        self.epoch = 0
        self.best_dice = -1.0
        self.best_epoch = 0
        network = build_network(settings.network, seeded_generator("initialise", seed))
        self._start: str | None = None
        if start is not None:
            first = start.member_of(seed)
            network.load_state_dict(start.weights_of(first))
            self._start = first.weights_sha256
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device != "cpu",  # one launch a step; a small network's GPU waits for launches
        )
        self.average = WeightAverage(self.network, settings.averaging_decay) if settings.averaging_decay else None
        self._loss = loss_function(settings.loss, settings.tversky_beta)
        self.n_steps_per_epoch = n_steps_per_epoch(len(split.training), settings)

    @property
    def finished(self) -> bool:
        """Whether all epochs are done or the validation Dice has not improved for too long."""
        patience = self.settings.patience_epochs
        stale = patience > 0 and self.epoch - self.best_epoch >= patience
        return self.epoch >= self.settings.n_epochs or stale

    def epochs(self, on_step: Callable[[StepProgress], None] | None = None) -> Iterator[EpochReport]:
        """Train epoch by epoch until `finished`; the caller saves between two epochs.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        while not self.finished:
            yield self._run_epoch(on_step)

    @property
    def member(self) -> nn.Module:
        """The network that is validated and becomes a member: the averaged one, if weights are averaged."""
        return self.network if self.average is None else self.average.network

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the member's weights on the CPU."""
        return _copy(self.member)

    def state(self) -> dict[str, Any]:
        """Everything an exact resume needs: tensors and plain numbers only, safe to load with `weights_only=True`."""
        return {
            "identity": self._identity(),
            "network": _copy(self.network),
            "average": self.average.state() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "best_dice": self.best_dice,
            "best_epoch": self.best_epoch,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`.

        Raises:
            TrainingError: the state belongs to other settings, data, another start or another seed.
        """
        if state["identity"] != self._identity():
            raise TrainingError(
                f"seed {self.seed}",
                "can resume only with the settings, data and start it was started with",
                "a checkpoint of another training",
                "Use another storage folder.",
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state(state["average"])
        self.epoch, self.best_dice, self.best_epoch = state["epoch"], state["best_dice"], state["best_epoch"]

    def _identity(self) -> str:
        identity = (
            f"seed {self.seed}, settings {self.settings.sha256_of_seed_training()}, data {self.samples.data_sha256}"
        )
        return identity if self._start is None else f"{identity}, start {self._start}"

    def _run_epoch(self, on_step: Callable[[StepProgress], None] | None) -> EpochReport:
        epoch, settings, started = self.epoch + 1, self.settings, time.perf_counter()
        order = seeded_generator("order", self.seed, epoch)
        augmentation = seeded_generator("augment", self.seed, epoch, device=self.device)
        self.network.train()
        loss_sum, rate, n_steps = torch.zeros((), device=self.device), 0.0, 0
        for indices, corners in draw_batches(self.split.training, settings, self.samples.image_px, order, self.device):
            rate = learning_rate(settings, self.epoch * self.n_steps_per_epoch + n_steps, self.n_steps_per_epoch)
            patches, labels = self.cut(indices, corners, augmentation)
            loss_sum += self.take_step(patches, labels, rate)
            n_steps += 1
            done = self.epoch * self.n_steps_per_epoch + n_steps
            if on_step is not None and (self.device == "cpu" or n_steps % 50 == 0):  # reading the loss makes a GPU wait
                total = settings.n_epochs * self.n_steps_per_epoch
                on_step(StepProgress(epoch, done, total, float(loss_sum) / n_steps))
        train_loss = float(loss_sum) / n_steps
        if not math.isfinite(train_loss):
            raise TrainingError(
                f"seed {self.seed}, epoch {epoch}",
                "the loss must stay finite",
                str(train_loss),
                "Lower the learning rate.",
            )
        training_s = time.perf_counter() - started
        validation_dice = self._validate()
        self.epoch = epoch
        if validation_dice > self.best_dice:
            self.best_dice, self.best_epoch = validation_dice, epoch
        return EpochReport(
            seed=self.seed,
            epoch=epoch,
            train_loss=train_loss,
            validation_dice=validation_dice,
            learning_rate=rate,
            n_patches_per_s=n_steps * settings.batch_size / training_s,
            training_s=training_s,
            validation_s=time.perf_counter() - started - training_s,
        )

    def cut(
        self, indices: torch.Tensor, corners: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch as the network takes it, augmented if the recipe says so.

        Args:
            indices: int64 `patch`, the slice of each, on the training's device.
            corners: int64 `patch 2`, first row and column of each, likewise.
            generator: of the augmentation, on the training's device.

        Returns:
            Patches `patch time row col`, channels last in memory, and labels int64 `patch row col`.
        """
        frames: torch.Tensor | list[torch.Tensor]
        if self.device == "cpu":
            frames, labels = [self.samples.frames_of(i) for i in indices.tolist()], self.samples.labels[indices]
        else:
            frames, labels = self.samples.gather(indices)
        px, augment = self.settings.patch_px, self.settings.augment
        if augment is None:
            patches, labels = cut_patches(frames, labels, corners, px)
        else:
            patches, labels = augment_patches(frames, labels, corners, px, augment, generator)
        return patches.contiguous(memory_format=torch.channels_last), labels

    def take_step(self, patches: torch.Tensor, labels: torch.Tensor, rate: float) -> torch.Tensor:
        """One step of the optimiser; the loss it started from, detached.

        Args:
            patches: as `cut` returns them.
            labels: likewise.
            rate: learning rate.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with autocast(self.settings.precision, self.device):
            logits = self.network(patches)
        loss = self._loss(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network)
        return loss.detach()

    def _validate(self) -> float:
        settings, network = self.settings, self.member.eval()
        stride_px, dtype = settings.validation_stride_px, resolve_precision(settings.precision, self.device)
        grid = SweepSettings(settings.patch_px, stride_px, stride_px, dtype=dtype)
        scores = []
        for i in self.split.validation:
            maps = sweep(network, self.samples.frames_of(i).float().cpu().numpy(), grid)
            assert maps is not None  # only `keep_going` makes a sweep return None
            scores.append(dice(maps.mask, self.samples.labels[i].cpu().numpy() == MYOCARDIUM))
        return float(np.mean(scores))


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def learning_rate(settings: TrainingSettings, n_steps_done: int, n_steps_per_epoch: int) -> float:
    """Learning rate of the next step: a pure function of how many steps were done."""
    warmup = min(1.0, (n_steps_done + 1) / settings.n_warmup_steps) if settings.n_warmup_steps else 1.0
    if settings.schedule == "cosine":
        share = n_steps_done / (settings.n_epochs * n_steps_per_epoch)
        return settings.learning_rate * warmup * 0.5 * (1.0 + math.cos(math.pi * share))
    n_halvings = (n_steps_done // n_steps_per_epoch) // settings.halving_epochs
    return float(settings.learning_rate * warmup * 0.5**n_halvings)
