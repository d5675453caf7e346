from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch

from tune.errors import TrainingError
from tune.precision import resolve_precision
from tune.samples import Samples
from tune.settings import TrainingSettings
from tune.training import SeedTraining, StepProgress, learning_rate

Change = Callable[..., TrainingSettings]


def start(settings: TrainingSettings, samples: Samples, seed: int = 1) -> SeedTraining:
    return SeedTraining(settings, seed, samples, samples.split(settings))


def test_loss_halves_and_the_ring_is_found_on_a_tiny_set(rings: Samples, changed: Change) -> None:
    settings = changed(n_epochs=4, n_patches_per_slice=18, learning_rate=1e-2, augment=None, precision="float32")
    seen: list[StepProgress] = []
    reports = list(start(settings, rings).epochs(seen.append))
    assert [r.epoch for r in reports] == [1, 2, 3, 4]
    assert reports[-1].train_loss < 0.5 * reports[0].train_loss  # 0.33 of it; seeds 1 to 3 give 0.16 to 0.33
    assert reports[-1].validation_dice > 0.9  # 0.99; a network that calls everything myocardium scores 0.12
    assert (seen[-1].n_steps_done, seen[-1].n_steps) == (len(seen), len(seen))


@pytest.mark.parametrize("averaging_decay", [0.0, 0.9])
def test_resumed_training_is_the_uninterrupted_one_bit_for_bit(
    rings: Samples, changed: Change, averaging_decay: float
) -> None:
    settings = changed(n_epochs=3, n_patches_per_slice=2, averaging_decay=averaging_decay)
    whole = start(settings, rings)
    reports = list(whole.epochs())

    first = start(settings, rings)
    next(first.epochs())
    saved = io.BytesIO()
    torch.save(first.state(), saved)
    saved.seek(0)
    second = start(settings, rings)
    second.load_state(torch.load(saved, weights_only=True))
    resumed = list(second.epochs())

    assert [r.train_loss for r in resumed] == [r.train_loss for r in reports[1:]]
    assert [r.validation_dice for r in resumed] == [r.validation_dice for r in reports[1:]]
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, second.weights()[name]), name


def test_seeds_differ_and_the_global_random_state_never_moves(rings: Samples, changed: Change) -> None:
    before = torch.random.get_rng_state()
    first, second = (start(changed(n_epochs=2), rings, seed) for seed in (1, 2))
    assert next(first.epochs()).train_loss != next(second.epochs()).train_loss
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_state_of_another_training_is_refused(rings: Samples, changed: Change) -> None:
    state = start(changed(), rings, seed=1).state()
    with pytest.raises(TrainingError, match="seed 2: can resume only with the settings, data and start it"):
        start(changed(), rings, seed=2).load_state(state)


def test_stops_early_once_the_dice_no_longer_improves(
    rings: Samples, changed: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    dices = iter([0.2, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr(SeedTraining, "_validate", lambda _: next(dices))
    training = start(changed(n_epochs=9, n_patches_per_slice=1, n_checkpoints=1, patience_epochs=2), rings)
    assert [report.validation_dice for report in training.epochs()] == [0.2, 0.5, 0.4, 0.5]
    assert training.finished


def test_a_diverged_loss_is_an_error_in_words(rings: Samples, changed: Change) -> None:
    training = start(changed(), rings)
    with torch.no_grad():
        training.network.classify.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"seed 1, epoch 1: the loss must stay finite; found nan\. Lower"):
        next(training.epochs())


def test_learning_rates_of_both_schedules(changed: Change) -> None:
    halving = changed(schedule="halving", halving_epochs=2, learning_rate=0.8, n_epochs=6)
    assert [learning_rate(halving, epoch * 10, 10) for epoch in range(6)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]
    cosine = changed(schedule="cosine", learning_rate=0.8, n_epochs=2, n_warmup_steps=4)
    assert learning_rate(cosine, 0, 10) == pytest.approx(0.2)
    assert learning_rate(cosine, 10, 10) == pytest.approx(0.4)
    assert learning_rate(cosine, 19, 10) < 0.01


def test_precision_given_is_precision_used() -> None:
    assert resolve_precision("float32", "cuda") == "float32"
    assert resolve_precision("auto", "cuda") == "bfloat16"


@pytest.mark.parametrize(
    ("features", "expected"),
    [({}, "float32"), ({"avx512_bf16": True}, "float32"), ({"avx512_bf16": True, "amx_bf16": True}, "bfloat16")],
)
def test_processors_compute_in_bfloat16_where_they_have_matrix_units(
    monkeypatch: pytest.MonkeyPatch, features: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert resolve_precision("auto", "cpu") == expected
