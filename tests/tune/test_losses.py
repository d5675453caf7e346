"""Losses against values and gradients worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pool.errors import SettingsError
from tune.losses import LOSSES, binary_cross_entropy, cross_entropy, dice, loss_function, tversky


def logits_of(*probabilities: tuple[float, ...]) -> torch.Tensor:
    """Logits `1 class 1 col` with these softmax probabilities, one tuple a pixel."""
    return torch.log(torch.tensor(probabilities)).T[None, :, None, :]


def test_cross_entropy_by_hand() -> None:
    assert float(cross_entropy(logits_of((0.5, 0.25, 0.25)), torch.tensor([[[1]]]))) == pytest.approx(1.3862944)


def test_binary_cross_entropy_by_hand_and_of_two_classes_as_cross_entropy() -> None:
    # each foreground class against the rest: myocardium (y 1) 0.25, blood pool (y 0) 0.25
    by_hand = -(math.log(0.25) + math.log(0.75)) / 2
    assert float(binary_cross_entropy(logits_of((0.5, 0.25, 0.25)), torch.tensor([[[1]]]))) == pytest.approx(by_hand)
    made = torch.Generator().manual_seed(2)
    logits, labels = torch.randn(2, 2, 5, 4, generator=made), torch.randint(0, 2, (2, 5, 4), generator=made)
    torch.testing.assert_close(binary_cross_entropy(logits, labels), cross_entropy(logits, labels))
    certain = torch.tensor([[0.0, 200.0]]).reshape(1, 2, 1, 1)  # p rounds to 1: the loss is the logit all the same
    assert float(binary_cross_entropy(certain, torch.tensor([[[0]]]))) == pytest.approx(200)


THREE = logits_of((0.1, 0.8, 0.1), (0.5, 0.25, 0.25), (0.2, 0.2, 0.6), (0.7, 0.2, 0.1))
LABELS = torch.tensor([[[1, 1, 2, 0]]])


def test_dice_of_three_classes_by_hand() -> None:
    # myocardium: TP 0.8 + 0.25, predicted 0.8 + 0.25 + 0.2 + 0.2 of 2; blood pool: TP 0.6, 0.1 + 0.25 + 0.6 + 0.1 of 1
    myocardium = (1.05 + 1) / (0.5 * (1.45 + 2) + 1)
    blood_pool = (0.6 + 1) / (0.5 * (1.05 + 1) + 1)
    assert float(dice(THREE, LABELS)) == pytest.approx(1 - (myocardium + blood_pool) / 2)


def test_tversky_of_two_classes_by_hand_weights_false_negatives_with_beta() -> None:
    logits, labels = logits_of((0.4, 0.6), (0.9, 0.1)), torch.tensor([[[1, 0]]])  # TP 0.6, FN 0.4, FP 0.1
    assert float(tversky(logits, labels, 0.7)) == pytest.approx(1 - 1.6 / (0.6 + 0.3 * 0.1 + 0.7 * 0.4 + 1))
    assert float(tversky(logits, labels, 0.5)) == pytest.approx(float(dice(logits, labels)))
    missed, invented = logits_of((0.9, 0.1), (0.9, 0.1)), logits_of((0.1, 0.9), (0.1, 0.9))
    assert tversky(missed, labels, 0.9) > tversky(missed, labels, 0.1)
    assert tversky(invented, labels, 0.9) < tversky(invented, labels, 0.1)


def test_gradient_of_tversky_by_hand() -> None:
    # one pixel of myocardium with probability p: TP p, FN 1 - p, so loss 1 - (p + 1) / (p + beta (1 - p) + 1)
    p, beta = 0.6, 0.7
    logits = logits_of((1 - p, p)).requires_grad_()
    tversky(logits, torch.tensor([[[1]]]), beta).backward()
    above, below = p + 1, p + beta * (1 - p) + 1
    of_p = -(below - above * (1 - beta)) / below**2
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.flatten(), torch.tensor([-1.0, 1.0]) * of_p * p * (1 - p))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_pull_the_missed_class_up_and_the_invented_one_down(name: str) -> None:
    logits = logits_of((0.7, 0.3), (0.4, 0.6)).requires_grad_()  # myocardium missed, background taken for it
    (gradient,) = torch.autograd.grad(loss_function(name, 0.7)(logits, torch.tensor([[[1, 0]]])), logits)
    missed, invented = gradient[0, 1, 0]
    assert missed < 0 < invented


def test_beta_moves_the_gradient_from_false_positives_to_false_negatives() -> None:
    labels, steps = torch.tensor([[[1, 0]]]), {}
    for beta in (0.1, 0.5, 0.9):
        logits = logits_of((0.7, 0.3), (0.4, 0.6)).requires_grad_()
        (gradient,) = torch.autograd.grad(tversky(logits, labels, beta), logits)
        steps[beta] = gradient[0, 1, 0].abs()
    share_of_missed = [float(missed / (missed + invented)) for missed, invented in steps.values()]
    assert share_of_missed == sorted(share_of_missed)
    assert share_of_missed[0] < share_of_missed[-1] - 0.1


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_float32_under_autocast_with_gradients_that_are_right(name: str, n_classes: int) -> None:
    loss_of, made = loss_function(name, 0.7), torch.Generator().manual_seed(1)
    logits = torch.randn(2, n_classes, 5, 4, generator=made)
    labels = torch.randint(0, n_classes, (2, 5, 4), generator=made)
    plain = loss_of(logits, labels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss_of(logits, labels), plain)
        assert loss_of(logits.bfloat16(), labels).dtype == torch.float32
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(logits, labels), logits)
    step = 1e-2 * torch.randn(logits.shape, generator=made)
    with torch.no_grad():
        change = loss_of(logits + step, labels) - loss_of(logits - step, labels)
    torch.testing.assert_close(change, 2 * (gradient * step).sum(), rtol=2e-2, atol=1e-6)


def test_a_class_that_is_absent_and_not_predicted_costs_nothing_and_one_predicted_has_a_gradient() -> None:
    background = torch.zeros(1, 1, 2, dtype=torch.int64)
    assert float(dice(torch.tensor([50.0, 0.0, 0.0]).reshape(1, 3, 1, 1).expand(1, 3, 1, 2), background)) < 1e-6
    logits = torch.zeros(1, 3, 1, 2).requires_grad_()
    dice(logits, background).backward()
    assert logits.grad is not None
    assert (logits.grad[:, 1:] > 0).all()


def test_a_sum_is_a_sum_and_an_unknown_loss_is_refused() -> None:
    both = loss_function("cross-entropy+dice", 0.7)(THREE, LABELS)
    torch.testing.assert_close(both, cross_entropy(THREE, LABELS) + dice(THREE, LABELS))
    with pytest.raises(
        SettingsError, match=r"loss must be one of cross-entropy, binary-cross-entropy, dice, .*; found 'focal'\."
    ):
        loss_function("focal", 0.7)
