"""What a trial of an experiment on ASL images runs: one network, trained by its recipe and tried on the test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pool.errors import SettingsError
from pool.evaluation.asl import ImageRow
from pool.manifest import MANIFEST_NAME, PoolManifest
from pool.member import Member
from pool.networks.prob_unet import ProbUNet
from pool.shapes import MYOCARDIUM
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import sampler_of
from pool.trials.settings import TrialSettings
from tune.asl.images import AslImages
from tune.asl.settings import AslTrainingSettings
from tune.asl.sweep_folder import GO_ON, POOLS, STATES, refuse_another_sweep, refuse_foreign_folder
from tune.asl.train import train_asl
from tune.fields import flat_fields
from tune.losses import loss_function
from tune.precision import autocast, resolve_precision
from tune.record import RECORD_NAME
from tune.reports import EpochReport
from tune.resources import Resources
from tune.samples import seeded_generator


@dataclass(frozen=True)
class TestedNetwork:
    """A network's answers to the test images."""

    __test__ = False  # no class of tests, whatever its name begins with

    name: str
    rows: tuple[ImageRow, ...]
    """One a test image, in their order."""
    latent: LatentFit | None
    """Of a probabilistic U-Net."""
    epochs: tuple[EpochReport, ...]
    """Those that were trained now."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, since Tune stores them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> TestedNetwork:
        """From what `to_dict` made."""
        latent = fields["latent"]
        return cls(
            fields["name"],
            tuple(ImageRow(**row) for row in fields["rows"]),
            None if latent is None else LatentFit(**latent),
            tuple(EpochReport(**report) for report in fields["epochs"]),
        )


@dataclass(frozen=True)
class LatentFit:
    """What a probabilistic U-Net's loss consists of on the test images, latent vectors drawn from the posterior."""

    loss: float
    """Mean of the recipe's loss without the divergence."""
    divergence: float
    """Mean divergence of posterior from prior [nat]."""


def train_and_test(
    name: str,
    settings: AslTrainingSettings,
    images: AslImages,
    tested: AslImages,
    folder: Path,
    trials: TrialSettings,
    device: str = "cpu",
) -> TestedNetwork:
    """Train a network, or take it up where it was, and outline the test images with it.

    Trials are made in the recipe's precision, the same for all networks that are compared.

    Args:
        name: of the network; of its pool below the folder.
        settings: its recipe, of one seed.
        images: to train on.
        tested: images of other studies.
        folder: of the experiment.
        trials: of each test image.
        device: torch's.

    Raises:
        SettingsError: a state kept that was begun otherwise.
    """
    epochs: list[EpochReport] = []
    member = _trained(name, settings, images, folder, device, epochs.append)
    sampler, rows = sampler_of(member.network), []
    for pixels, labels, kind, study in zip(tested.pixels, tested.labels, tested.kinds, tested.studies):
        with autocast(settings.precision, device):
            sums = run_trials(sampler, pixels[None], trials, reference=labels == MYOCARDIUM)
        assert sums is not None  # only `keep_going` makes it None
        rows.append(ImageRow.of(study, kind, pixels, labels, TrialMaps.of(sums)))
    latent = latent_fit(member.network, settings, tested, device) if isinstance(member.network, ProbUNet) else None
    return TestedNetwork(name, tuple(rows), latent, tuple(epochs))


def device_of(resources: Resources) -> str:
    """Torch's device of a trial."""
    return "cuda" if resources.gpus_per_trial > 0 else "cpu"


def of_one_precision(recipe: AslTrainingSettings, resources: Resources) -> AslTrainingSettings:
    """The recipe with its precision named, as `auto` would mean this on one node of a cluster and that on another."""
    return replace(recipe, precision=resolve_precision(recipe.precision, device_of(resources)))


def refuse_place(
    kind: str,
    recipe: AslTrainingSettings,
    recipes_of: Callable[[AslTrainingSettings], Mapping[str, AslTrainingSettings]],
    out_dir: Path,
    resources: Resources,
) -> AslTrainingSettings:
    """Refuse a folder in which a sweep cannot be made, or not gone on with.

    Args:
        kind: of the sweep, see `tune.asl.sweep_folder`.
        recipe: that all networks share.
        recipes_of: gives the networks' own recipes, by name.
        out_dir: of the sweep.
        resources: of a network.

    Returns:
        The recipe with its precision named.

    Raises:
        OutputError, SettingsError: the folder holds something else, another sweep, or networks trained otherwise.
    """
    recipe = of_one_precision(recipe, resources)
    refuse_foreign_folder(out_dir, kind)
    refuse_trained_otherwise(recipes_of(recipe), out_dir)
    refuse_another_sweep(out_dir, kind, recipe)
    return recipe


def refuse_trained_otherwise(
    recipes: Mapping[str, AslTrainingSettings], folder: Path, images: AslImages | None = None
) -> None:
    """Refuse networks that an earlier experiment left in the folder, unless they are what would be trained now.

    Args:
        recipes: by the network's name.
        folder: of the experiment.
        images: to train on; None asks for the recipes alone.

    Raises:
        SettingsError: one was trained otherwise.
    """
    data_sha256 = images.sha256() if images is not None else None
    for name, settings in recipes.items():
        if (folder / POOLS / name / MANIFEST_NAME).is_file():
            known = PoolManifest.load(folder / POOLS / name).provenance
            rows = []
            if known.get("settings_sha256") != settings.sha256():
                rows = _differences(settings, known.get("settings")) or ["other settings"]
            if data_sha256 is not None and known.get("data_sha256") != data_sha256:
                rows.append("other images")
            if rows:
                remedy = "Give another --out, or the settings and images of the experiment that is there."
                raise SettingsError(f"network {name}", "must have been trained alike", ", ".join(rows), remedy)


def _differences(settings: AslTrainingSettings, stored: Any) -> list[str]:
    asked, was = flat_fields(settings.to_dict()), flat_fields(stored) if isinstance(stored, dict) else {}
    return [f"{key} {was[key]} instead of {asked[key]}" for key in asked if key in was and was[key] != asked[key]]


def _trained(
    name: str,
    settings: AslTrainingSettings,
    images: AslImages,
    folder: Path,
    device: str,
    on_epoch: Callable[[EpochReport], None],
) -> Member:
    pool, state = folder / POOLS / name, folder / STATES / name
    if (pool / MANIFEST_NAME).is_file():
        manifest = PoolManifest.load(pool)
    else:
        began = (state / RECORD_NAME).is_file()
        manifest = train_asl(
            settings,
            images,
            pool,
            name=f"asl {name}",
            device=device,
            on_epoch=on_epoch,
            storage=state,
            resume=began,
            go_on=GO_ON,
        )
    return Member.load(pool, manifest.entry_of(), device)


@torch.inference_mode()
def latent_fit(network: ProbUNet, settings: AslTrainingSettings, tested: AslImages, device: str) -> LatentFit:
    """What the network's loss consists of on some images, vectors drawn from the posterior; leaves it evaluating.

    Args:
        network: trained.
        settings: its recipe.
        tested: images with labels.
        device: torch's, where the network is.
    """
    loss_of, chance = loss_function(settings.loss, settings.tversky_beta), seeded_generator("latent", 0, device=device)
    losses, divergences = [], []
    network.eval()
    for pixels, labels in zip(tested.pixels, tested.labels):
        truth = labels if settings.network.n_classes > 2 else labels == MYOCARDIUM
        told = torch.from_numpy(truth).long()[None].to(device)
        logits, divergence = network.learn(torch.from_numpy(pixels)[None, None].to(device), told, chance)
        losses.append(float(loss_of(logits, told)))
        divergences.append(float(divergence))
    return LatentFit(sum(losses) / len(losses), sum(divergences) / len(divergences))
