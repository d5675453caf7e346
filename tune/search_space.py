"""Which configurations a search compares, as data: a grid over patch, stride, learning rate and loss, or draws from it.

The paper chose patch and stride so (Yalcinkaya et al. 2024, Appendix B): patches of 16, 32 and 64 px with a stride of
half a patch, then other strides of the best patch. Here both are one grid.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from pool.errors import SettingsError
from tune.samples import seeded_generator
from tune.settings import TrainingSettings


@dataclass(frozen=True)
class Configuration:
    """One row of the search's table."""

    number: int
    """From 1, in the order of the grid or the draws."""
    patch_px: int
    """Rows and columns of a patch."""
    stride_px: int
    """Stride of the training grid."""
    learning_rate: float
    """Highest learning rate."""
    loss: str
    """One of `tune.losses.LOSSES`."""

    def __str__(self) -> str:
        return f"patch {self.patch_px}, stride {self.stride_px}, rate {self.learning_rate:.3g}, {self.loss}"

    def recipe(self, base: TrainingSettings) -> TrainingSettings:
        """`base` with this configuration.

        What depends on the patch size goes with it: patches a slice, so that every epoch sees as many pixels as the
        base's, and the stride of validation, so that every pixel is covered by as many patches.

        Raises:
            SettingsError: a patch that the network's poolings or the slice cannot take, a stride that omits pixels.
        """
        validation_stride_px = _whole_px("validation stride", base.validation_stride_px / base.patch_px, self.patch_px)
        return replace(
            base,
            patch_px=self.patch_px,
            stride_px=self.stride_px,
            learning_rate=self.learning_rate,
            loss=self.loss,
            n_patches_per_slice=max(1, round(base.n_patches_per_slice * (base.patch_px / self.patch_px) ** 2)),
            validation_stride_px=validation_stride_px,
        )


@dataclass(frozen=True)
class SearchSettings:
    """A search: what is tried, for how long, and when a trial is given up.

    Raises:
        SettingsError: nothing to try, a configuration that cannot be trained, a budget that makes no sense.
    """

    base: TrainingSettings
    """Everything that the search does not vary; its epochs, seeds and checkpoints are those of the training to come."""
    patch_px: tuple[int, ...] = (16, 32, 64)
    """Patch sizes."""
    stride_shares: tuple[float, ...] = (0.5, 0.25)
    """Strides of the training grid as shares of the patch size."""
    learning_rates: tuple[float, ...] = (5e-4,)
    """Learning rates; draws lie between the least and the greatest, evenly in their logarithm."""
    losses: tuple[str, ...] = ("cross-entropy",)
    """Names of losses."""
    n_drawn: int | None = None
    """Configurations drawn at random; None tries the whole grid."""
    draw_seed: int = 0
    """Seed of the draws."""
    seeds: tuple[int, ...] = (1,)
    """Every configuration is trained once a seed; its score is their mean."""
    n_epochs: int = 15
    """Most epochs of a trial."""
    grace_epochs: int = 1
    """Epochs before a trial can be stopped."""
    reduction_factor: int = 3
    """Of the trials that come to a check, about one in this many goes on; checks lie this factor apart in epochs."""

    def __post_init__(self) -> None:
        for name in ("patch_px", "stride_shares", "learning_rates", "losses", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise SettingsError("search", f"{name} must be different values, one at least", str(list(values)))
        limits = {"n_epochs": (1, 10_000), "grace_epochs": (1, self.n_epochs), "reduction_factor": (2, 100)}
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise SettingsError("search", f"{name} must lie from {least} to {most}", repr(getattr(self, name)))
        n_choices = len(self.patch_px) * len(self.stride_shares) * len(self.losses)
        most = n_choices if len(self.learning_rates) == 1 else 100_000
        if self.n_drawn is not None and not 1 <= self.n_drawn <= most:
            remedy = "Draw fewer, or vary more."
            raise SettingsError("search", f"can draw 1 to {most} different configurations", str(self.n_drawn), remedy)
        for configuration in self.configurations():
            self.trial_settings(configuration)

    def configurations(self) -> tuple[Configuration, ...]:
        """What is tried: the same for the same settings, on any machine."""
        choices = list(itertools.product(self.patch_px, self.stride_shares, self.losses))
        if self.n_drawn is None:
            rows = [(*choice, rate) for choice in choices for rate in self.learning_rates]
        else:
            generator = seeded_generator("search", self.draw_seed)
            order = torch.randperm(len(choices), generator=generator).tolist()
            least, most = math.log(min(self.learning_rates)), math.log(max(self.learning_rates))
            places = torch.rand(self.n_drawn, generator=generator, dtype=torch.float64).tolist()
            rows = [
                (*choices[order[i % len(choices)]], math.exp(least + place * (most - least)))
                for i, place in enumerate(places)
            ]
        return tuple(
            Configuration(i, patch_px, _whole_px("stride", share, patch_px), float(f"{rate:.6g}"), loss)
            for i, (patch_px, share, loss, rate) in enumerate(rows, start=1)
        )

    def trial_settings(self, configuration: Configuration) -> TrainingSettings:
        """The recipe of a configuration's trials."""
        recipe = configuration.recipe(self.base)
        return replace(recipe, n_epochs=self.n_epochs, n_checkpoints=1, seeds=self.seeds)

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-ready fields."""
        return dict(json.loads(json.dumps(asdict(self))))


def _whole_px(what: str, share: float, patch_px: int) -> int:
    """That share of a patch [pixels]."""
    stride_px = share * patch_px
    if stride_px < 1 or abs(stride_px - round(stride_px)) > 1e-9:
        rule = f"the {what} must be whole pixels, at least one"
        raise SettingsError("search", rule, f"{share:g} of a patch of {patch_px} px, {stride_px:g}")
    return round(stride_px)
