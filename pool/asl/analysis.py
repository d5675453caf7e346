"""From an ASL study to outline, uncertainty map, score and blood flow, in one process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from pool import __version__
from pool.answers import MemberFailure
from pool.asl.flow import AslRegionFlow, flow_in_outline
from pool.asl.series import AslSeries
from pool.calibrated_selection import CalibratedScore, CalibratedSelection, select_calibrated
from pool.errors import PoolError, SettingsError
from pool.manifest import MemberEntry, PoolManifest
from pool.member import Pool
from pool.perfusion.asl import AslValues
from pool.shapes import Map, Mask, SliceFrames
from pool.trials.images import padded, standardised
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import sampler_of
from pool.trials.settings import ADVISED_TRIALS, TrialSettings


@dataclass(frozen=True)
class AslAnalysisSettings:
    """Everything that decides the numbers of an ASL analysis.

    Raises:
        SettingsError: no threads, or a field without tabulated relaxation times.
    """

    trials: TrialSettings = field(default_factory=lambda: TrialSettings(ADVISED_TRIALS))
    """Of every member."""
    values: AslValues = field(default_factory=AslValues)
    """What flow is read with."""
    n_threads: int = 1
    """Torch's threads."""
    device: str = "cpu"
    """Torch's device."""
    field_t: float | None = None
    """Field strength, whatever a study says [T]; None takes the study's, or that of `values` where it says none."""

    def __post_init__(self) -> None:
        if self.n_threads < 1:
            raise SettingsError("ASL analysis", "n_threads must be at least 1", str(self.n_threads))
        self.values_for(None)

    def values_for(self, study_field_t: float | None) -> AslValues:
        """What the flow of a study is read with.

        Args:
            study_field_t: as its headers say [T]; None where they do not.

        Raises:
            SettingsError: a field without tabulated relaxation times.
        """
        known = (field_t for field_t in (self.field_t, study_field_t) if field_t is not None)
        return replace(self.values, field_t=next(known, self.values.field_t))

    def sha256(self) -> str:
        """Hash of the settings; goes into every result."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class AslAnalysis:
    """The result."""

    series: AslSeries
    manifest: PoolManifest
    settings: AslAnalysisSettings
    outlined: Map
    """The image that the members saw: the mean of the control images, standardised."""
    answers: dict[str, TrialMaps]
    """Of every member of trials that gave one, by id."""
    selection: CalibratedSelection
    mask: Mask
    """Of the chosen member; empty without one."""
    uncertainty: Map
    """Of the chosen member; NaN without one."""
    flow: tuple[AslRegionFlow, ...]
    """The whole outline first, then its segments; empty where `no_flow` says why."""
    no_flow: str
    software: str = f"perfusion-pool {__version__}"

    @property
    def n_absent(self) -> int:
        """Members of trials that gave no answer."""
        return len(self.manifest.of_trials) - len(self.answers)

    @property
    def mcd_uncertainty(self) -> float | None:
        """Of the chosen member."""
        return self.answers[self.selection.chosen].mcd_uncertainty if self.selection.chosen else None

    def to_dict(self) -> dict[str, Any]:
        """`result.json` as fields."""
        return {
            "software": self.software,
            "study": {
                "sha256": self.series.content_sha256(),
                "n_pairs": len(self.series.control),
                "remarks": list(self.series.remarks),
            },
            "pool": {
                "name": self.manifest.name,
                "sha256": self.manifest.sha256(),
                "n_members": self.manifest.n_members,
            },
            "settings": {"sha256": self.settings.sha256(), **asdict(self.settings)},
            "selection": self.selection.to_dict(),
            "mcd_uncertainty": self.mcd_uncertainty,
            "n_myocardium_px": int(self.mask.sum()),
            "field_t": self.settings.values_for(self.series.field_t).field_t if self.flow else None,
            "flow": [asdict(item) for item in self.flow],
            "no_flow": self.no_flow,
        }


def analyse_asl(
    series: AslSeries,
    pool: Pool,
    settings: AslAnalysisSettings,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> AslAnalysis:
    """Outline the mean control image with every member of trials, believe one, measure flow in its outline.

    What the service must equal, bit for bit. Members that sweep patches have no answer to a single image.

    Args:
        series: the study.
        pool: all members; those of trials need a calibration, see `pool.calibration`.
        settings: see there.
        on_progress: called with members done and in all.

    Raises:
        SettingsError: a pool without members of trials.
        InconsistentStudyError: an image that shows nothing.
    """
    pool.manifest.require_trials()
    torch.set_num_threads(settings.n_threads)
    image = mean_control(series.control)
    asked = padded(image, multiple_px(pool.manifest))
    answers: dict[str, TrialMaps | MemberFailure] = {}
    for number, member in enumerate(pool.of_trials, 1):
        try:
            sums = run_trials(sampler_of(member.network), asked, settings.trials)
            assert sums is not None  # only `keep_going` makes it None
            answers[member.entry.id] = TrialMaps.of(sums.cropped(*image.shape[1:]))
        except PoolError as error:
            answers[member.entry.id] = MemberFailure(str(error))
        on_progress(number, len(pool.of_trials))
    return conclude_asl(series, image, answers, pool.manifest, settings)


def multiple_px(manifest: PoolManifest) -> int:
    """What rows and columns of an image must be multiples of for all members of trials: it is padded to that."""
    return max(entry.network.multiple_px for entry in manifest.of_trials)


def conclude_asl(
    series: AslSeries,
    image: SliceFrames,
    answers: Mapping[str, TrialMaps | MemberFailure],
    manifest: PoolManifest,
    settings: AslAnalysisSettings,
) -> AslAnalysis:
    """Believe one member and measure flow in its outline: the reduce step.

    Args:
        series: the study.
        image: what the members saw, see `mean_control`.
        answers: by id, in any order; a failure is a score with its reason, and so is a member of trials without answer.
        manifest: of the whole pool.
        settings: see there.
    """
    maps = {key: answer for key, answer in sorted(answers.items()) if isinstance(answer, TrialMaps)}
    scores = [_score(entry, answers.get(entry.id), settings.trials.n_trials) for entry in manifest.of_trials]
    selection = select_calibrated(manifest.of_trials, scores)
    if selection.chosen is None:
        empty, nothing = np.zeros(image.shape[1:], bool), np.full(image.shape[1:], np.nan, np.float32)
        why = "there is no outline"
        return AslAnalysis(series, manifest, settings, image[0], maps, selection, empty, nothing, (), why)
    chosen = maps[selection.chosen]
    flow, why = flow_in_outline(series, chosen, settings.values_for)
    return AslAnalysis(
        series, manifest, settings, image[0], maps, selection, chosen.mask, chosen.uncertainty, flow, why
    )


def _score(entry: MemberEntry, answer: TrialMaps | MemberFailure | None, n_trials: int) -> CalibratedScore:
    if not isinstance(answer, TrialMaps):
        return CalibratedScore.of(entry, {}, failure="gave no answer" if answer is None else answer.reason)
    return CalibratedScore.of(entry, {"mcd_uncertainty": answer.mcd_uncertainty}, n_trials)


def calibrated_trials(manifest: PoolManifest) -> int:
    """As many trials as the first calibrated member of a pool was calibrated with; the advised number without one."""
    known = (entry.calibration.n_trials for entry in manifest.of_trials if entry.calibration is not None)
    return next((n_trials for n_trials in known if n_trials is not None), ADVISED_TRIALS)


def mean_control(control: np.ndarray) -> SliceFrames:
    """The image that is outlined: the mean of the control images, standardised, float32 `1 row col`.

    Args:
        control: `pair row col`.

    Raises:
        InconsistentStudyError, NonFiniteError: an image that shows nothing.
    """
    return standardised(control.mean(axis=0, dtype=np.float64).astype(np.float32)[None], "mean control image")
