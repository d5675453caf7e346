"""What training minimises: pure functions of logits and labels, in float32 whatever precision the logits come in.

The overlap losses (Dice, Tversky) are one minus a ratio of pixel counts, with probabilities in place of yes and no,
averaged over the foreground classes. Decided here: counts are sums over the whole batch, not over each patch, because
a patch may hold no myocardium at all, and its own ratio would then be noise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional

from pool.errors import SettingsError

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

LOSSES = ("cross-entropy", "binary-cross-entropy", "dice", "cross-entropy+dice", "tversky")
"""Names of the losses; the first is the first paper's, Dice that of the second."""
SMOOTHING_PX = 1.0
"""Added above and below the ratio [pixels]: a class that is absent and not predicted costs 0 instead of 0 / 0."""


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over all pixels, unweighted (Yalcinkaya et al. 2024, Methods).

    Args:
        logits: float `patch class row col`, class 0 the background.
        labels: int64 `patch row col`.
    """
    return functional.cross_entropy(logits.float(), labels)


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over all pixels of -(y log p + (1 - y) log(1 - p)), each foreground class against all others, then averaged.

    With one foreground class it is `cross_entropy`; with more, a pixel's mistakes among the classes that it does not
    belong to cost as well. Source: Do et al. 2020, "Tversky Loss Function for Model Adaptability", L_BCE.

    Args:
        logits: as in `cross_entropy`, at least two classes.
        labels: as in `cross_entropy`.
    """
    logits = logits.float()
    truth = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)
    one_against_rest = torch.stack([_logit_of_class(logits, c) for c in range(1, logits.shape[1])], dim=1)
    return functional.binary_cross_entropy_with_logits(one_against_rest, truth[:, 1:])


def _logit_of_class(logits: torch.Tensor, index: int) -> torch.Tensor:
    """log(p / (1 - p)) of a class's softmax probability: exact where p itself would round to 0 or 1."""
    others = torch.cat([logits[:, :index], logits[:, index + 1 :]], dim=1)
    return logits[:, index] - others.logsumexp(dim=1)


def tversky(logits: torch.Tensor, labels: torch.Tensor, beta: float) -> torch.Tensor:
    """Tversky loss: 1 - TP / (TP + (1 - beta) FP + beta FN), mean over the foreground classes.

    A large `beta` makes false negatives dear, so outlines come out thick; 0.5 is the Dice loss. Source: Do et al.
    2020, "Tversky Loss Function for Model Adaptability", whose formula this is. Its Results read the other way round
    (with rising beta, false positives fall and false negatives rise): for the thin outlines that the paper prefers
    for blood flow, the formula needs `beta` below 0.5.

    Args:
        logits: as in `cross_entropy`, at least two classes.
        labels: as in `cross_entropy`.
        beta: weight of the false negatives, in [0, 1]; false positives weigh the rest.
    """
    with torch.autocast(logits.device.type, enabled=False):
        probability = logits.float().softmax(dim=1)
        truth = torch.zeros_like(probability).scatter_(1, labels[:, None], 1.0)
        axes = (0, 2, 3)
        overlap = (probability * truth).sum(axes)
        false_positive = probability.sum(axes) - overlap
        false_negative = truth.sum(axes) - overlap
        whole = overlap + (1.0 - beta) * false_positive + beta * false_negative
        return 1.0 - ((overlap + SMOOTHING_PX) / (whole + SMOOTHING_PX))[1:].mean()


def dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss: 1 - 2 |A B| / (|A| + |B|), mean over the foreground classes; arguments as in `cross_entropy`."""
    return tversky(logits, labels, beta=0.5)


def cross_entropy_and_dice(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Sum of both, each with weight 1: the overlap counts small classes, cross-entropy keeps probabilities honest."""
    return cross_entropy(logits, labels) + dice(logits, labels)


def loss_function(name: str, tversky_beta: float) -> LossFunction:
    """The loss of that name.

    Args:
        name: one of `LOSSES`.
        tversky_beta: weight of the false negatives in `tversky`; the others have none.

    Raises:
        SettingsError: no loss has that name.
    """
    functions: tuple[LossFunction, ...] = (
        cross_entropy,
        binary_cross_entropy,
        dice,
        cross_entropy_and_dice,
        partial(tversky, beta=tversky_beta),
    )
    if name not in LOSSES:
        raise SettingsError("training", f"loss must be one of {', '.join(LOSSES)}", repr(name))
    return dict(zip(LOSSES, functions, strict=True))[name]
