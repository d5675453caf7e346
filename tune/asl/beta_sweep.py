"""False positives against false negatives by the loss: Tversky's beta from 0.1 to 0.9, cross-entropy and Dice.

Do et al. 2020, Figures 7 and S8. Beta weighs false negatives, as in that paper's formula: with rising beta they fall
and false positives rise. Its figure reads the other way round, as if the weights were exchanged; read ours at 1 - beta.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pool.errors import SettingsError
from pool.evaluation.partial_volume import MovedOutline, OutlineErrors, errors_of, moved_outlines
from pool.manifest import MANIFEST_NAME, PoolManifest
from pool.member import Member
from pool.phantom.asl import AslStudy
from pool.trials.samplers import sampler_of
from pool.trials.settings import TrialSettings
from tune.asl.evaluate import outline_study
from tune.asl.images import AslImages
from tune.asl.settings import AslTrainingSettings
from tune.asl.train import train_asl

OTHER_LOSSES = ("binary-cross-entropy", "dice")
"""Trained for comparison."""
POOLS = "pools"
"""Folder of the trained networks: a sweep that was cut off goes on after the last whole one."""


@dataclass(frozen=True)
class BetaPoint:
    """The network trained with one beta."""

    beta: float
    errors: OutlineErrors


@dataclass(frozen=True, eq=False)
class BetaSweep:
    """All networks on the same test images."""

    points: tuple[BetaPoint, ...]
    """By rising beta."""
    others: tuple[OutlineErrors, ...]
    """Of the other losses."""
    thin: MovedOutline
    thick: MovedOutline
    n_images: int
    settings: AslTrainingSettings
    """The recipe; loss and beta are each network's own."""
    n_trials: int

    def monotone(self) -> tuple[bool, bool]:
        """Whether false positives rise, and false negatives fall, at every step of beta."""
        rises = [b.errors.n_false_positive > a.errors.n_false_positive for a, b in pairwise(self.points)]
        falls = [b.errors.n_false_negative < a.errors.n_false_negative for a, b in pairwise(self.points)]
        return all(rises), all(falls)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            "settings": self.settings.to_dict(),
            "n_images": self.n_images,
            "n_trials": self.n_trials,
            "betas": [asdict(point) for point in self.points],
            "losses": [asdict(found) for found in self.others],
            "thin": asdict(self.thin),
            "thick": asdict(self.thick),
            "false_positives_rise_and_false_negatives_fall": list(self.monotone()),
        }


def sweep_betas(
    recipe: AslTrainingSettings,
    betas: Sequence[float],
    images: AslImages,
    test_studies: Sequence[AslStudy],
    out_dir: Path,
    trials: TrialSettings,
    tracking_uri: str | None = None,
    device: str = "cpu",
    on_network: Callable[[OutlineErrors], None] = lambda _errors: None,
) -> BetaSweep:
    """Train a network for each beta and each other loss, all else equal, and count what its outlines get wrong.

    Args:
        recipe: of all networks but for the loss.
        betas: different ones, rising.
        images: to train on.
        test_studies: of other subjects; a control and a labelled image of each are outlined.
        out_dir: networks are kept below it, and taken from there if they were trained alike before.
        trials: of each test image.
        tracking_uri: MLflow's, where each network is a run; None tracks nothing.
        device: torch's.
        on_network: called with what each network gets wrong.

    Raises:
        SettingsError: betas that do not rise, a recipe of several seeds, or networks kept that were trained otherwise.
    """
    if len(betas) < 2 or any(b <= a for a, b in pairwise(betas)) or len(recipe.seeds) > 1:
        rule = "needs at least two betas that rise, and one seed"
        raise SettingsError("beta sweep", rule, f"{list(betas)}, {len(recipe.seeds)} seeds")
    recipes = {f"beta-{beta:g}": replace(recipe, loss="tversky", tversky_beta=beta) for beta in betas}
    recipes |= {loss: replace(recipe, loss=loss) for loss in OTHER_LOSSES}
    found = {}
    for name, settings in recipes.items():
        member = _trained(name, settings, images, out_dir / POOLS / name, tracking_uri, device)
        found[name] = _errors(name, member, test_studies, trials)
        on_network(found[name])
    thin, thick = moved_outlines(test_studies)
    points = tuple(BetaPoint(beta, found[f"beta-{beta:g}"]) for beta in betas)
    others = tuple(found[loss] for loss in OTHER_LOSSES)
    return BetaSweep(points, others, thin, thick, 2 * len(test_studies), recipe, trials.n_trials)


def _trained(
    name: str, settings: AslTrainingSettings, images: AslImages, folder: Path, tracking_uri: str | None, device: str
) -> Member:
    if (folder / MANIFEST_NAME).is_file():
        manifest = PoolManifest.load(folder)
        known = (manifest.provenance.get("settings_sha256"), manifest.provenance.get("data_sha256"))
        if known != (settings.sha256(), images.sha256()):
            remedy = "Give another --out, or the settings and images of the sweep that is there."
            raise SettingsError(f"network {name}", "must have been trained alike", json.dumps(known), remedy)
    else:
        manifest = train_asl(settings, images, folder, tracking_uri, f"asl {name}", device=device)
    return Member.load(folder, manifest.entry_of(), device)


def _errors(name: str, member: Member, studies: Sequence[AslStudy], trials: TrialSettings) -> OutlineErrors:
    sampler, pairs = sampler_of(member.network), []
    for study in studies:
        outlined, _ = outline_study(sampler, study, 1, trials)
        pairs += [(item.mask, item.truth) for item in outlined]
    return errors_of(name, pairs)
