"""The weight of the divergence in a probabilistic U-Net's loss: lambda from 0.1 to 10.

Do et al. 2020, "Probabilistic U-Net": lambda was chosen by the least validation loss and divergence. Here both are told
of the test images, whose labels are known, beside what the choice is for: Dice, and whether the score without a
reference (MCD Uncertainty) follows the one with it (Dice Uncertainty).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pool.errors import SettingsError
from pool.evaluation.asl import ImageRow
from pool.evaluation.regression import FEWEST_PAIRS, Regression, regression
from pool.trials.settings import TrialSettings
from tune.asl.images import AslImages
from tune.asl.network_trials import run_networks
from tune.asl.networks import TestedNetwork, refuse_place, refuse_trained_otherwise
from tune.asl.settings import AslTrainingSettings
from tune.asl.sweep_folder import LAMBDA_SWEEP, claim_folder
from tune.resources import Resources


@dataclass(frozen=True)
class KlPoint:
    """The network trained with one weight."""

    kl_weight: float
    dice: tuple[float, float]
    """Mean and standard deviation over the test images."""
    loss: float
    """Mean loss without the divergence, latent vectors from the posterior."""
    divergence: float
    """Mean divergence of posterior from prior [nat]."""
    mcd_uncertainty: float | None
    """Mean over the images with an outline; None without one."""
    uncertainties: Regression | None
    """MCD Uncertainty on Dice Uncertainty; None where too few images have an outline or the scores do not vary."""

    @classmethod
    def of(cls, kl_weight: float, network: TestedNetwork) -> KlPoint:
        """From the answers of a probabilistic U-Net."""
        assert network.latent is not None  # `sweep_kl_weights` takes no other networks
        dices = np.array([row.dice for row in network.rows])
        scored = [row for row in network.rows if row.mcd_uncertainty is not None]
        return cls(
            kl_weight,
            (float(dices.mean()), float(dices.std())),
            network.latent.loss,
            network.latent.divergence,
            float(np.mean([row.mcd_uncertainty for row in scored])) if scored else None,
            _uncertainties(scored),
        )


@dataclass(frozen=True, eq=False)
class KlSweep:
    """All networks on the same test images."""

    points: tuple[KlPoint, ...]
    """By rising weight."""
    n_images: int
    n_trials: int
    settings: AslTrainingSettings
    """The recipe; the weight is each network's own."""
    networks: tuple[TestedNetwork, ...]
    """One a point."""

    def recipe_of(self, point: KlPoint) -> AslTrainingSettings:
        """The recipe of one of the networks."""
        return replace(self.settings, kl_weight=point.kl_weight)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, those of single images left out."""
        return {
            "settings": self.settings.to_dict(),
            "n_images": self.n_images,
            "n_trials": self.n_trials,
            "weights": [asdict(point) for point in self.points],
        }


def sweep_kl_weights(
    recipe: AslTrainingSettings,
    weights: Sequence[float],
    images: AslImages,
    tested: AslImages,
    out_dir: Path,
    trials: TrialSettings,
    resources: Resources | None = None,
    on_network: Callable[[KlPoint], None] = lambda _point: None,
) -> KlSweep:
    """Train a probabilistic U-Net for each weight, all else equal, and try it on the test images.

    Args:
        recipe: of all networks but for the weight.
        weights: different ones, rising.
        images: to train on.
        tested: images of other subjects.
        out_dir: networks are kept below it, and taken from there if they were trained alike before.
        trials: of each test image.
        resources: of one network's trial of Ray Tune, and the cluster's address.
        on_network: called with what each network came to.

    Raises:
        SettingsError: weights that do not rise, a recipe of several seeds or of another kind of network, or networks
            kept that were trained otherwise.
        OutputError: a folder that holds something else.
        TrainingError: a network could not be trained.
    """
    resources = resources or Resources()
    recipe = refuse_kl_weights(recipe, weights, out_dir, resources)
    weight_of, recipes = {kl_name(weight): weight for weight in weights}, recipes_of(recipe, weights)
    refuse_trained_otherwise(recipes, out_dir, images)
    claim_folder(out_dir, LAMBDA_SWEEP, recipe)

    def tell(network: TestedNetwork) -> None:
        on_network(KlPoint.of(weight_of[network.name], network))

    found_networks = run_networks(recipes, images, tested, out_dir, trials, resources, tell)
    networks = tuple(found_networks[kl_name(weight)] for weight in weights)
    points = tuple(KlPoint.of(weight, network) for weight, network in zip(weights, networks))
    return KlSweep(points, len(tested), trials.n_trials, recipe, networks)


def refuse_kl_weights(
    recipe: AslTrainingSettings, weights: Sequence[float], out_dir: Path, resources: Resources
) -> AslTrainingSettings:
    """All that a sweep can be refused for before its images are known.

    Args:
        recipe: of all networks but for the weight.
        weights: different ones, rising.
        out_dir: of the sweep.
        resources: of a network.

    Returns:
        The recipe with its precision named.

    Raises:
        OutputError, SettingsError: as of `sweep_kl_weights`.
    """
    rising = all(a < b for a, b in pairwise(weights))
    if len(weights) < 2 or not rising or len(recipe.seeds) > 1 or recipe.network.kind != "prob-unet":
        rule = "needs a prob-unet, at least two weights that rise, and one seed"
        found = f"{recipe.network.kind}, {list(weights)}, {len(recipe.seeds)} seeds"
        raise SettingsError("lambda sweep", rule, found, "Take --preset prob-quick.")
    return refuse_place(LAMBDA_SWEEP, recipe, lambda named: recipes_of(named, weights), out_dir, resources)


def kl_name(weight: float) -> str:
    """Of a network: all digits, so that different weights never share one."""
    return f"lambda-{float(weight)!r}"


def recipes_of(recipe: AslTrainingSettings, weights: Sequence[float]) -> dict[str, AslTrainingSettings]:
    """The recipes of all networks, by name."""
    return {kl_name(weight): replace(recipe, kl_weight=weight) for weight in weights}


def _uncertainties(scored: Sequence[ImageRow]) -> Regression | None:
    mcd = [row.mcd_uncertainty or 0.0 for row in scored]
    of_dice = [row.dice_uncertainty for row in scored]
    if len(scored) < FEWEST_PAIRS or np.ptp(mcd) == 0 or np.ptp(of_dice) == 0:
        return None
    return regression(mcd, of_dice)
