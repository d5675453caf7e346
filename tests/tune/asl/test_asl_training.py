"""Training on ASL images: recipes, images, a network that learns rings, and the pool that comes of it."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from pool.errors import InconsistentStudyError, SettingsError
from pool.manifest import PoolManifest
from pool.networks import NetworkSpec
from pool.phantom.asl import make_asl_study
from pool.phantom.presets import get_preset
from tune.asl.images import AslImages, phantom_studies
from tune.asl.objectives import objective
from tune.asl.settings import AslTrainingSettings
from tune.asl.train import train_asl
from tune.asl.training import AslTraining

TINY = NetworkSpec(kind="mcd-unet", width=4, n_poolings=1, n_frames=1, n_classes=2)


def recipe(**changes: object) -> AslTrainingSettings:
    fields = {"network": TINY, "n_epochs": 6, "batch_size": 4, "learning_rate": 2e-2, "n_validation_trials": 3}
    return AslTrainingSettings(**(fields | {"validation_share": 0.3} | changes))


def rings(n_studies: int = 24, px: int = 24) -> AslImages:
    """Dark rings about bright pools, a control and a labelled image each; labelled images have less contrast."""
    rows, cols = np.indices((px, px))
    pixels, labels, kinds, studies = [], [], [], []
    made = np.random.default_rng(1)
    for study in range(n_studies):
        distance = np.hypot(rows - px / 2 + study % 3 - 1, cols - px / 2)
        truth = np.where(distance < 4, 2, np.where(distance < 8, 1, 0)).astype(np.uint8)
        for kind, contrast in (("control", 1.0), ("labelled", 0.6)):
            shown = np.choose(truth, [0.0, -1.5, 2.0]) * contrast + 0.2 * made.standard_normal((px, px))
            pixels.append((shown - shown.mean()) / shown.std())
            labels.append(truth)
            kinds.append(kind)
            studies.append(f"s{study}")
    return AslImages(np.stack(pixels).astype(np.float32), np.stack(labels), tuple(kinds), tuple(studies))


def test_the_papers_recipe_is_the_default_and_comes_back_from_json() -> None:
    paper = AslTrainingSettings.paper()
    assert (paper.n_epochs, paper.batch_size, paper.learning_rate, paper.loss) == (150, 12, 1e-4, "dice")
    assert (paper.network.width, paper.network.n_frames, paper.network.n_classes) == (64, 1, 2)
    prob = AslTrainingSettings.prob_paper()
    assert (prob.kl_weight, prob.loss, prob.weight_decay) == (10.0, "binary-cross-entropy", 1e-5)
    for settings in (paper, AslTrainingSettings.quick(seeds=(1, 2)), prob, AslTrainingSettings.prob_quick()):
        again = AslTrainingSettings.from_dict(json.loads(json.dumps(settings.to_dict())))
        assert again == settings
        assert again.sha256() == settings.sha256()
    with pytest.raises(SettingsError, match="unknown or missing fields"):
        AslTrainingSettings.from_dict(paper.to_dict() | {"optimiser": "sgd"})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"network": NetworkSpec()}, "needs a network of trials that takes one image; found unet of 30 frames. Take"),
        ({"images": "contrast"}, "images must be one of both, control, labelled; found 'contrast'."),
        ({"seeds": ()}, "seeds must be different numbers of at least 0"),
        ({"batch_size": 1}, "batch_size must lie from 2 to 4096; found 1."),
        ({"learning_rate": 0.0}, "learning_rate must lie between 0 and 1; found 0.0."),
        ({"crop_px": 9}, "crop_px must be a multiple of 2 for this network; found 9."),
        ({"loss": "focal"}, "loss must be one of"),
    ],
)
def test_nonsense_is_refused_in_words(changes: dict[str, object], text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        recipe(**changes)
    assert text in str(refusal.value)


def test_images_of_studies_are_standardised_and_split_by_study() -> None:
    study = make_asl_study(get_preset("inD"), 5)
    images = AslImages.of_studies([study, make_asl_study(get_preset("inD"), 6)], 2)
    assert images.kinds == ("control", "labelled") * 4
    np.testing.assert_allclose(images.pixels.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(images.pixels.std((1, 2)), 1, atol=1e-5)
    assert np.corrcoef(images.pixels[3].ravel(), study.labelled[1].ravel())[0, 1] == pytest.approx(1)
    training, validation = images.split(0.1)
    assert set(training.studies) | set(validation.studies) == {"5", "6"}
    assert not set(training.studies) & set(validation.studies)
    assert set(images.of_kind("labelled").kinds) == {"labelled"}
    assert len(images.of_kind("both")) == 8
    assert images.sha256() != images.of_kind("control").sha256()
    with pytest.raises(SettingsError, match="at least 1 and at most what it has; found 7 of 6"):
        AslImages.of_studies([study], 7)
    with pytest.raises(SettingsError, match="need at least two studies, one of which validates; found 1"):
        AslImages.of_studies([study], 1).split(0.5)
    with pytest.raises(SettingsError, match="need at least one and a seed"):
        phantom_studies("inD", 0, 1)
    with pytest.raises(SettingsError, match="readers must be one or many; found 'two'"):
        phantom_studies("inD", 1, 1, "two")


def test_one_reader_and_many_read_the_same_images_otherwise() -> None:
    (one,), (many,) = (phantom_studies("inD", 1, 1, readers) for readers in ("one", "many"))
    assert np.array_equal(one.control, many.control)
    assert not np.array_equal(one.labels, many.labels)
    assert np.array_equal(one.anatomical_labels, many.anatomical_labels)


def test_a_network_learns_rings_and_the_same_seed_gives_the_same_weights() -> None:
    before = torch.random.get_rng_state()
    training, validation = rings().split(0.3)
    runs = []
    for seed, n_epochs in ((2, 1), (1, 1), (1, 5)):
        run = AslTraining(recipe(crop_px=20), seed, training, validation)
        reports = list(islice(run.epochs(), n_epochs))
        runs.append((reports[0], run.weights()))
    assert torch.equal(before, torch.random.get_rng_state())
    losses = [first.train_loss for first, _ in runs]
    assert losses[1] == losses[2] != losses[0]
    assert not torch.equal(runs[0][1]["classify.weight"], runs[1][1]["classify.weight"])
    assert [report.epoch for report in reports] == list(range(1, 6))
    assert reports[-1].validation_dice > 0.8
    assert reports[-1].train_loss < 0.7 * reports[0].train_loss


def test_the_learning_rate_of_a_cosine_falls_to_nothing() -> None:
    training, validation = rings(4).split(0.3)
    run = AslTraining(recipe(schedule="cosine", n_epochs=4, n_warmup_steps=2), 1, training, validation)
    rates = [report.learning_rate for report in run.epochs()]
    assert rates[0] == pytest.approx(2e-2, rel=0.2)
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 4e-3


def test_rates_of_thirds_are_the_papers() -> None:
    training, validation = rings(4).split(0.3)
    run = AslTraining(recipe(schedule="thirds", n_epochs=3, learning_rate=1e-4), 1, training, validation)
    assert [report.learning_rate for report in run.epochs()] == pytest.approx([1e-4, 5e-5, 1e-5])


def test_a_probabilistic_network_learns_rings_and_the_divergence_has_its_weight() -> None:
    training, validation = rings().split(0.3)
    network = NetworkSpec(kind="prob-unet", width=4, n_poolings=1, n_frames=1, n_classes=2)
    run = AslTraining(recipe(network=network, loss="binary-cross-entropy"), 1, training, validation)
    assert list(run.epochs())[-1].validation_dice > 0.8
    labels = torch.from_numpy(training.labels[:4] == 1).long()
    images = torch.from_numpy(training.pixels[:4])[:, None]
    losses = {}
    for weight in (0.0, 10.0):
        changes = {"loss": "binary-cross-entropy", "kl_weight": weight, "precision": "float32"}
        settings = recipe(network=network, **changes)
        losses[weight] = objective(settings, run.network, torch.Generator().manual_seed(1))(images, labels)
    _, divergence = run.network.learn(images, labels, torch.Generator().manual_seed(1))
    assert float(losses[10.0] - losses[0.0]) == pytest.approx(float(divergence.mean()) * 10 / 24**2, rel=1e-3)


def test_images_that_do_not_suit_the_network_are_refused() -> None:
    training, validation = rings(4, px=25).split(0.3)
    with pytest.raises(InconsistentStudyError, match="must be multiples of 2 and hold the window"):
        AslTraining(recipe(), 1, training, validation)
    training, validation = rings(4).split(0.3)
    with pytest.raises(InconsistentStudyError, match=r"hold the window of \(32, 32\) px; found 24 x 24"):
        AslTraining(recipe(crop_px=32), 1, training, validation)


def test_a_pool_holds_the_best_epoch_of_every_seed_and_can_be_fine_tuned(tmp_path: Path) -> None:
    reports = []
    settings = recipe(seeds=(1, 2), images="control")
    manifest = train_asl(settings, rings(), tmp_path / "control", on_epoch=reports.append)
    assert manifest == PoolManifest.load(tmp_path / "control")
    assert [member.seed for member in manifest.members] == [1, 2]
    for member in manifest.members:
        assert member.validation_dice == max(r.validation_dice for r in reports if r.seed == member.seed)
        assert member.network == TINY
    assert manifest.provenance["settings"]["images"] == "control"
    fine = recipe(images="labelled", n_epochs=1, learning_rate=1e-4)
    tuned = train_asl(fine, rings(), tmp_path / "tuned", start_from=tmp_path / "control")
    assert tuned.provenance["start_sha256"] == manifest.sha256()
    assert tuned.members[0].validation_dice > 0.6  # one gentle epoch from nothing would give an empty outline
    with pytest.raises(SettingsError, match="can be started from only if its networks are the recipe's"):
        train_asl(
            recipe(network=NetworkSpec("mcd-unet", 2, 1, 1, 2)),
            rings(),
            tmp_path / "x",
            start_from=tmp_path / "control",
        )


@pytest.mark.parametrize("kind", ["mcd-unet", "prob-unet"])
def test_bfloat16_is_of_the_forward_pass_alone_and_learns_as_well(kind: str) -> None:
    training, validation = rings().split(0.3)
    network = NetworkSpec(kind=kind, width=4, n_poolings=1, n_frames=1, n_classes=2)
    losses = {}
    for precision in ("float32", "bfloat16"):
        run = AslTraining(recipe(network=network, precision=precision), 1, training, validation)
        reports = list(run.epochs())
        losses[precision] = reports[0].train_loss
        assert reports[-1].validation_dice > 0.8
        state = run.state()
        held = [*state["network"].values(), *(m for of in state["optimizer"]["state"].values() for m in of.values())]
        assert {tensor.dtype for tensor in held} <= {torch.float32, torch.int64}
        images = torch.from_numpy(training.pixels[:2])[:, None]
        labels = torch.from_numpy(training.labels[:2] == 1).long()
        loss = objective(run.settings, run.network, torch.Generator().manual_seed(1))(images, labels)
        assert loss.dtype == torch.float32
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
