"""A member of trials on phantom ASL studies that it has not seen: outlines, both uncertainties, blood flow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from pool.errors import SettingsError, StudyError
from pool.evaluation.asl import AslSummary, FlowRow, ImageRow
from pool.evaluation.asl_flow import segment_flows
from pool.member import Member
from pool.phantom.asl import AslStudy
from pool.shapes import MYOCARDIUM, Map, Mask
from pool.sweep import MASK_THRESHOLD
from pool.trials.bootstrap import TrialsCurve, trials_curve
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import Sampler, sampler_of
from pool.trials.settings import ADVISED_TRIALS, TrialSettings
from tune.asl.images import ONE_READER, AslImages
from tune.precision import PRECISIONS, autocast

LEAST_IMAGES = 3
CURVE_TRIALS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
"""Numbers of trials that are resampled, as far as there are so many."""


@dataclass(frozen=True)
class AslEvaluationSettings:
    """What decides the numbers of an evaluation, beside the member.

    Raises:
        SettingsError: counts out of range.
    """

    preset: str = "inD"
    """Population of the phantom."""
    n_studies: int = 72
    """Test studies; each gives a control and a labelled image a pair."""
    seed: int = 2
    """Of the test studies; another one than the training's."""
    readers: str = ONE_READER
    """`one` or `many`, see `phantom_studies`."""
    n_pairs: int = 1
    """Pairs of each study whose images are outlined."""
    n_trials: int = ADVISED_TRIALS
    """Trials of an image; the paper's 1,115 take eleven times as long."""
    n_bootstrap_trials: int = 2048
    """Trials of the two images whose scores are resampled; the paper's are 16,384. 0 leaves the resampling out."""
    n_repeats: int = 1024
    """Resamples for each number of trials."""
    precision: str = "float32"
    """Arithmetic of the trials: `float32`, as that of an analysis, `bfloat16`, or `auto`: where it is native."""

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            rule = f"precision must be one of {', '.join(PRECISIONS)}"
            raise SettingsError("ASL evaluation", rule, repr(self.precision))
        least = {"n_studies": 2, "seed": 0, "n_pairs": 1, "n_bootstrap_trials": 0, "n_repeats": 2}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise SettingsError("ASL evaluation", f"{name} must be at least {value}", str(getattr(self, name)))
        self.trials()

    def trials(self) -> TrialSettings:
        """Of every image."""
        return TrialSettings(self.n_trials)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Outlined:
    """An image with the answer to it."""

    row: ImageRow
    pixels: Map
    truth: Mask
    mask: Mask
    uncertainty: Map


@dataclass(frozen=True, eq=False)
class AslEvaluation:
    """Everything that was found."""

    member: Member
    settings: AslEvaluationSettings
    images: tuple[Outlined, ...]
    segments: tuple[FlowRow, ...]
    reasons: tuple[str, ...]
    """Why a study has no flow."""
    summary: AslSummary
    curves: dict[str, TrialsCurve]
    """Scores against the number of trials for the images with the `least` and the `greatest` MCD Uncertainty."""

    def by_uncertainty(self) -> list[Outlined]:
        """Images with a mask, least MCD Uncertainty first."""
        scored = [item for item in self.images if item.row.mcd_uncertainty is not None]
        return sorted(scored, key=lambda item: item.row.mcd_uncertainty or 0.0)


def evaluate_asl(
    member: Member,
    studies: Sequence[AslStudy],
    settings: AslEvaluationSettings,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> AslEvaluation:
    """Outline every image with many trials, measure flow under the outlines, resample the scores of two images.

    A study's outline for flow is where the mean probability over its outlined images is at least 0.5.

    Args:
        member: a network of trials.
        studies: with their truth.
        settings: see there.
        on_progress: called with trials made and in all.

    Raises:
        SettingsError: a member that answers without chance, or too few images with a mask.
    """
    sampler = sampler_of(member.network)
    trials, n_images = settings.trials(), 2 * settings.n_pairs * len(studies)
    n_all = n_images * trials.n_trials + 2 * settings.n_bootstrap_trials
    outlined: list[Outlined] = []
    segments: list[FlowRow] = []
    reasons = []
    precise = partial(autocast, settings.precision, sampler.device.type)
    for study in studies:
        with precise():
            images, probability = outline_study(sampler, study, settings.n_pairs, trials)
        outlined += images
        on_progress(len(outlined) * trials.n_trials, n_all)
        try:
            segments += segment_flows(study, probability >= MASK_THRESHOLD)
        except StudyError as error:
            reasons.append(str(error))
    if sum(item.row.mcd_uncertainty is not None for item in outlined) < LEAST_IMAGES:
        remedy = "Is the member trained?"
        raise SettingsError("ASL evaluation", f"needs {LEAST_IMAGES} images with an outline", "fewer", remedy)
    summary = AslSummary.of([item.row for item in outlined], segments)
    found = AslEvaluation(member, settings, tuple(outlined), tuple(segments), tuple(reasons), summary, {})
    if settings.n_bootstrap_trials:
        in_order = found.by_uncertainty()
        for number, (name, item) in enumerate((("least", in_order[0]), ("greatest", in_order[-1])), 1):
            with precise():
                found.curves[name] = _curve(sampler, item, settings)
            on_progress(n_all - (2 - number) * settings.n_bootstrap_trials, n_all)
    return found


def outline_study(sampler: Sampler, study: AslStudy, n_pairs: int, trials: TrialSettings) -> tuple[list[Outlined], Map]:
    """The images of a study's first pairs with the answers to them, and the mean probability of myocardium over them.

    Args:
        sampler: of the member.
        study: with its truth.
        n_pairs: pairs whose images are outlined.
        trials: of each image.
    """
    images, outlined = AslImages.of_studies([study], n_pairs), []
    probability = np.zeros(study.labels.shape, dtype=np.float32)
    for pixels, labels, kind in zip(images.pixels, images.labels, images.kinds):
        maps = _answer(sampler, pixels, labels == MYOCARDIUM, trials)
        row = ImageRow.of(str(study.seed), kind, pixels, labels, maps)
        outlined.append(Outlined(row, pixels, labels == MYOCARDIUM, maps.mask, maps.uncertainty))
        probability += maps.probability[MYOCARDIUM] / len(images)
    return outlined, probability


def _answer(sampler: Sampler, pixels: Map, truth: Mask, trials: TrialSettings) -> TrialMaps:
    sums = run_trials(sampler, pixels[None], trials, reference=truth)
    assert sums is not None  # only `keep_going` makes it None
    return TrialMaps.of(sums)


def _curve(sampler: Sampler, item: Outlined, settings: AslEvaluationSettings) -> TrialsCurve:
    every = TrialSettings(settings.n_bootstrap_trials, seed=1)  # other draws than those of the outline
    numbers = [n for n in CURVE_TRIALS if n <= every.n_trials]
    return trials_curve(sampler, item.pixels[None], item.truth, every, numbers, settings.n_repeats)
