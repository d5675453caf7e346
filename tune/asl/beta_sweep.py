"""False positives against false negatives by the loss: Tversky's beta from 0.1 to 0.9, cross-entropy and Dice.

Do et al. 2020, Figures 7 and S8. Beta weighs false negatives, as in that paper's formula: with rising beta they fall
and false positives rise. Its figure reads the other way round, as if the weights were exchanged; read ours at 1 - beta.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pool.errors import SettingsError
from pool.evaluation.paired_change import Change, bootstrap_interval, means_of_subjects, paired_change
from pool.evaluation.partial_volume import MovedOutline, OutlineErrors, moved_outlines
from pool.phantom.asl import AslStudy
from pool.trials.settings import TrialSettings
from tune.asl.images import AslImages
from tune.asl.network_trials import run_networks
from tune.asl.networks import TestedNetwork, refuse_place, refuse_trained_otherwise
from tune.asl.settings import AslTrainingSettings
from tune.asl.sweep_folder import BETA_SWEEP, claim_folder
from tune.resources import Resources

OTHER_LOSSES = ("binary-cross-entropy", "dice")
"""Trained for comparison."""


@dataclass(frozen=True)
class BetaPoint:
    """The network trained with one beta."""

    beta: float
    errors: OutlineErrors
    false_positive_interval: tuple[float, float]
    """95 % interval of the mean, of a bootstrap over the test subjects [pixels an image]."""
    false_negative_interval: tuple[float, float]


@dataclass(frozen=True)
class BetaStep:
    """From one beta to the next: what changes over the same test subjects [pixels an image]."""

    betas: tuple[float, float]
    false_positive: Change
    false_negative: Change

    @property
    def monotone(self) -> tuple[bool, bool]:
        """Whether false positives do not fall, and false negatives do not rise, beyond the noise."""
        return not self.false_positive.falls, not self.false_negative.rises

    @property
    def shown(self) -> tuple[bool, bool]:
        """Whether false positives rise, and false negatives fall, beyond the noise."""
        return self.false_positive.rises, self.false_negative.falls


@dataclass(frozen=True, eq=False)
class BetaSweep:
    """All networks on the same test images."""

    points: tuple[BetaPoint, ...]
    """By rising beta."""
    steps: tuple[BetaStep, ...]
    """Between neighbours."""
    others: tuple[OutlineErrors, ...]
    """Of the other losses."""
    thin: MovedOutline
    thick: MovedOutline
    n_images: int
    settings: AslTrainingSettings
    """The recipe; loss and beta are each network's own."""
    n_trials: int
    networks: tuple[TestedNetwork, ...]
    """Those of the betas, then those of the other losses."""

    def monotone(self) -> tuple[bool, bool]:
        """Whether no step of beta goes the wrong way beyond the noise: of false positives, of false negatives."""
        rises, falls = zip(*(step.monotone for step in self.steps))
        return all(rises), all(falls)

    def shown(self) -> tuple[bool, bool]:
        """Whether every step of beta goes the right way beyond the noise: of false positives, of false negatives."""
        rises, falls = zip(*(step.shown for step in self.steps))
        return all(rises), all(falls)

    def recipe_of(self, network: TestedNetwork) -> AslTrainingSettings:
        """The recipe of one of the networks."""
        return recipes_of(self.settings, [point.beta for point in self.points])[network.name]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields, those of single images left out."""
        return {
            "settings": self.settings.to_dict(),
            "n_images": self.n_images,
            "n_trials": self.n_trials,
            "betas": [asdict(point) for point in self.points],
            "steps": [
                {**asdict(step), "monotone_within_noise": list(step.monotone), "beyond_noise": list(step.shown)}
                for step in self.steps
            ],
            "losses": [asdict(found) for found in self.others],
            "thin": self.thin.to_dict(),
            "thick": self.thick.to_dict(),
            "no_step_against_it_beyond_noise": list(self.monotone()),
            "all_steps_beyond_noise": list(self.shown()),
        }


def sweep_betas(
    recipe: AslTrainingSettings,
    betas: Sequence[float],
    images: AslImages,
    test_studies: Sequence[AslStudy],
    out_dir: Path,
    trials: TrialSettings,
    resources: Resources | None = None,
    on_network: Callable[[OutlineErrors], None] = lambda _errors: None,
) -> BetaSweep:
    """Train a network for each beta and each other loss, all else equal, and count what its outlines get wrong.

    Args:
        recipe: of all networks but for the loss.
        betas: different ones, rising.
        images: to train on.
        test_studies: of other subjects, at least two; a control and a labelled image of each are outlined.
        out_dir: networks are kept below it, and taken from there if they were trained alike before.
        trials: of each test image.
        resources: of one network's trial of Ray Tune, and the cluster's address.
        on_network: called with what each network gets wrong.

    Raises:
        SettingsError: betas that do not rise, a recipe of several seeds, a single test subject, or networks kept that
            were trained otherwise.
        OutputError: a folder that holds something else.
        TrainingError: a network could not be trained.
    """
    resources = resources or Resources()
    recipe = refuse_betas(recipe, betas, len(test_studies), out_dir, resources)
    recipes = recipes_of(recipe, betas)
    refuse_trained_otherwise(recipes, out_dir, images)
    claim_folder(out_dir, BETA_SWEEP, recipe)
    tested = AslImages.of_studies(test_studies, 1)

    def tell(network: TestedNetwork) -> None:
        on_network(OutlineErrors.of(network.name, network.rows))

    found = run_networks(recipes, images, tested, out_dir, trials, resources, tell)
    of_beta, others = [found[beta_name(beta)] for beta in betas], [found[loss] for loss in OTHER_LOSSES]
    thin, thick = moved_outlines(test_studies)
    return BetaSweep(
        points=tuple(_point(beta, network) for beta, network in zip(betas, of_beta)),
        steps=tuple(_step(pair, *networks) for pair, networks in zip(pairwise(betas), pairwise(of_beta))),
        others=tuple(OutlineErrors.of(network.name, network.rows) for network in others),
        thin=thin,
        thick=thick,
        n_images=len(tested),
        settings=recipe,
        n_trials=trials.n_trials,
        networks=tuple(found.values()),
    )


def refuse_betas(
    recipe: AslTrainingSettings, betas: Sequence[float], n_test_studies: int, out_dir: Path, resources: Resources
) -> AslTrainingSettings:
    """All that a sweep can be refused for before its images are known.

    Args:
        recipe: of all networks but for the loss.
        betas: different ones, rising.
        n_test_studies: studies of other subjects.
        out_dir: of the sweep.
        resources: of a network.

    Returns:
        The recipe with its precision named.

    Raises:
        OutputError, SettingsError: as of `sweep_betas`.
    """
    if len(betas) < 2 or any(b <= a for a, b in pairwise(betas)) or len(recipe.seeds) > 1 or n_test_studies < 2:
        rule = "needs at least two betas that rise, one seed and two test studies"
        raise SettingsError("beta sweep", rule, f"{list(betas)}, {len(recipe.seeds)} seeds, {n_test_studies} studies")
    return refuse_place(BETA_SWEEP, recipe, lambda named: recipes_of(named, betas), out_dir, resources)


def beta_name(beta: float) -> str:
    """Of a network: all digits, so that different betas never share one."""
    return f"beta-{float(beta)!r}"


def recipes_of(recipe: AslTrainingSettings, betas: Sequence[float]) -> dict[str, AslTrainingSettings]:
    """The recipes of all networks, by name: those of the betas, then those of the other losses."""
    recipes = {beta_name(beta): replace(recipe, loss="tversky", tversky_beta=beta) for beta in betas}
    return recipes | {loss: replace(recipe, loss=loss) for loss in OTHER_LOSSES}


def _point(beta: float, network: TestedNetwork) -> BetaPoint:
    intervals = [bootstrap_interval(means_of_subjects(counts, _subjects(network))) for counts in _counts(network)]
    return BetaPoint(beta, OutlineErrors.of(network.name, network.rows), *intervals)


def _step(betas: tuple[float, float], before: TestedNetwork, after: TestedNetwork) -> BetaStep:
    pairs = zip(_counts(before), _counts(after))
    return BetaStep(betas, *(paired_change(a, b, _subjects(before)) for a, b in pairs))


def _counts(network: TestedNetwork) -> tuple[list[float], list[float]]:
    """False positives and negatives of every image."""
    rows = network.rows
    return [float(row.n_false_positive) for row in rows], [float(row.n_false_negative) for row in rows]


def _subjects(network: TestedNetwork) -> list[str]:
    return [row.study for row in network.rows]
