"""Training of one seed on whole ASL images, in plain torch: its dropout too comes from explicit generators.

Exact to resume between two epochs: on a CPU, the same bits as if never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from pool.errors import InconsistentStudyError
from pool.evaluation.overlap import dice
from pool.networks import build_network
from pool.networks.mcd_unet import MCDUNet
from pool.networks.prob_unet import ProbUNet
from pool.shapes import MYOCARDIUM
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import sampler_of
from pool.trials.settings import TrialSettings
from tune.asl.images import AslImages
from tune.asl.objectives import Objective, objective
from tune.asl.settings import AslTrainingSettings
from tune.errors import TrainingError
from tune.precision import autocast
from tune.reports import EpochReport
from tune.samples import seeded_generator

THIRDS = (1.0, 0.5, 0.1)
"""Of the highest rate in each third of a training with the schedule `thirds`: 1e-4, 5e-5, 1e-5 in the paper."""


class AslTraining:
    """The training of one seed, epoch by epoch.

    Args:
        settings: the recipe.
        seed: decides initialisation, dropout and order.
        training, validation: images of different studies, of the kinds that the recipe takes.
        device: `cpu` or `cuda`.
        weights: to go on from; None draws them.

    Raises:
        InconsistentStudyError: images whose rows and columns do not suit the network or the window.
    """

    def __init__(
        self,
        settings: AslTrainingSettings,
        seed: int,
        training: AslImages,
        validation: AslImages,
        device: str = "cpu",
        weights: dict[str, torch.Tensor] | None = None,
    ) -> None:
        self.settings, self.seed, self.device, self.epoch = settings, seed, device, 0
        network = build_network(settings.network, seeded_generator("initialise", seed))
        assert isinstance(network, MCDUNet | ProbUNet)  # `AslTrainingSettings` takes no others
        if weights is not None:
            network.load_state_dict(weights)
        self.network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        n_rows, n_cols = training.pixels.shape[1:]
        self._crop = (settings.crop_px or n_rows, settings.crop_px or n_cols)
        multiple = network.multiple_px
        if n_rows % multiple or n_cols % multiple or self._crop[0] > n_rows or self._crop[1] > n_cols:
            rule = f"rows and columns must be multiples of {multiple} and hold the window of {self._crop} px"
            raise InconsistentStudyError("ASL images", rule, f"{n_rows} x {n_cols}")
        self._pixels = torch.from_numpy(training.pixels).to(device)
        labels = torch.from_numpy(training.labels).long().to(device)
        self._labels = labels if settings.network.n_classes > 2 else (labels == MYOCARDIUM).long()
        self._validation = validation
        self._optimizer = torch.optim.Adam(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._n_steps_per_epoch = -(-len(training) // settings.batch_size)
        shown = f"{training.sha256()} and {validation.sha256()}"
        self._identity = f"seed {seed}, settings {settings.sha256()}, images {shown}"

    def epochs(self) -> Iterator[EpochReport]:
        """Train epoch by epoch; the caller takes `weights` between two.

        Raises:
            TrainingError: the loss is no longer a finite number.
        """
        while self.epoch < self.settings.n_epochs:
            yield self._run_epoch()

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the weights on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self.network.state_dict().items()}

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs between two epochs: tensors and plain numbers, as the chance of every epoch
        comes from the seed and the epoch's number."""
        return {
            "identity": self._identity,
            "network": self.weights(),
            "optimizer": self._optimizer.state_dict(),
            "epoch": self.epoch,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state()`.

        Raises:
            TrainingError: the state belongs to other settings or images, or to another seed.
        """
        if state["identity"] != self._identity:
            rule = "can resume only with the settings and images it was started with"
            remedy = "Use another storage folder."
            raise TrainingError(f"seed {self.seed}", rule, "a state of another training", remedy)
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]

    def _run_epoch(self) -> EpochReport:
        epoch, started = self.epoch + 1, time.perf_counter()
        draws = seeded_generator("asl order", self.seed, epoch)
        chance = seeded_generator("asl dropout", self.seed, epoch, device=self.device)
        loss_of = objective(self.settings, self.network, chance)
        order = torch.randperm(len(self._pixels), generator=draws).to(self.device)
        self.network.train()
        loss_sum, rate = torch.zeros((), device=self.device), 0.0
        for step, indices in enumerate(torch.tensor_split(order, self._n_steps_per_epoch)):
            rate = self._rate(self.epoch * self._n_steps_per_epoch + step)
            loss_sum += self._take_step(indices, draws, loss_of, rate)
        train_loss = float(loss_sum) / self._n_steps_per_epoch
        if not math.isfinite(train_loss):
            subject = f"seed {self.seed}, epoch {epoch}"
            raise TrainingError(subject, "the loss must stay finite", str(train_loss), "Lower the learning rate.")
        training_s = time.perf_counter() - started
        started, found = time.perf_counter(), self._validate()
        self.epoch = epoch
        speed = len(self._pixels) / training_s
        return EpochReport(self.seed, epoch, train_loss, found, rate, speed, training_s, time.perf_counter() - started)

    def _rate(self, n_steps_done: int) -> float:
        settings = self.settings
        warmup = min(1.0, (n_steps_done + 1) / settings.n_warmup_steps) if settings.n_warmup_steps else 1.0
        share = n_steps_done / (settings.n_epochs * self._n_steps_per_epoch)
        falls = {"constant": 1.0, "cosine": 0.5 * (1.0 + math.cos(math.pi * share)), "thirds": THIRDS[int(3 * share)]}
        fall = falls[settings.schedule]
        return settings.learning_rate * warmup * fall

    def _take_step(
        self, indices: torch.Tensor, draws: torch.Generator, loss_of: Objective, rate: float
    ) -> torch.Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        images, labels = self._windows(indices, draws)
        loss = loss_of(images, labels)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.detach()

    def _windows(self, indices: torch.Tensor, draws: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Images `image time row col` and labels `image row col` of a step, cut where the recipe has a window."""
        n_rows, n_cols = self._crop
        room = [full - cut + 1 for full, cut in zip(self._pixels.shape[1:], self._crop)]
        corners = [torch.randint(0, n, (len(indices),), generator=draws).tolist() for n in room]
        cuts = [
            (i, slice(row, row + n_rows), slice(col, col + n_cols)) for i, row, col in zip(indices.tolist(), *corners)
        ]
        images = torch.stack([self._pixels[cut] for cut in cuts])[:, None]
        return images.contiguous(memory_format=torch.channels_last), torch.stack([self._labels[cut] for cut in cuts])

    def _validate(self) -> float:
        """Mean Dice of the masks that trials agree on: dropout stays on, since batch normalisation learned with it.

        In the recipe's precision, as the training itself.
        """
        sampler = sampler_of(self.network)
        settings = TrialSettings(self.settings.n_validation_trials, batch_size=self.settings.n_validation_trials)
        scores = []
        for pixels, labels in zip(self._validation.pixels, self._validation.labels):
            with autocast(self.settings.precision, self.device):
                sums = run_trials(sampler, pixels[None], settings)
            assert sums is not None  # only `keep_going` makes it None
            scores.append(dice(TrialMaps.of(sums).mask, labels == MYOCARDIUM))
        return float(np.mean(scores))
