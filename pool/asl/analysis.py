"""From an ASL study to outline, uncertainty map, score and blood flow, in one process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from pool import __version__
from pool.asl.series import AslSeries
from pool.calibrated_selection import CalibratedScore, CalibratedSelection, select_calibrated
from pool.errors import PoolError, SettingsError
from pool.manifest import PoolManifest
from pool.member import Pool
from pool.networks import PATCH_KIND
from pool.perfusion.asl import AslFlow, AslValues, measure_asl
from pool.perfusion.regions import SliceRegions
from pool.perfusion.segments import SEGMENT_NAMES, find_insertion, segment_map
from pool.shapes import BLOOD_POOL, Map, Mask, SliceFrames
from pool.sweep import MASK_THRESHOLD
from pool.trials.images import standardised
from pool.trials.maps import TrialMaps
from pool.trials.run import run_trials
from pool.trials.samplers import sampler_of
from pool.trials.settings import ADVISED_TRIALS, TrialSettings

LEVEL = "mid"
"""An ASL study is one mid short-axis slice."""


@dataclass(frozen=True)
class AslAnalysisSettings:
    """Everything that decides the numbers of an ASL analysis.

    Raises:
        SettingsError: no threads.
    """

    trials: TrialSettings = field(default_factory=lambda: TrialSettings(ADVISED_TRIALS))
    """Of every member."""
    values: AslValues = field(default_factory=AslValues)
    """What flow is read with."""
    n_threads: int = 1
    """Torch's threads."""
    device: str = "cpu"
    """Torch's device."""

    def __post_init__(self) -> None:
        if self.n_threads < 1:
            raise SettingsError("ASL analysis", "n_threads must be at least 1", str(self.n_threads))

    def sha256(self) -> str:
        """Hash of the settings; goes into every result."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class AslRegionFlow:
    """Flow of the whole outline or of one AHA segment."""

    name: str
    mbf_ml_min_g: float
    """Mean over the pairs [mL/min/g]."""
    physiological_noise: float | None
    """Standard deviation over the pairs [mL/min/g]; None of a single pair."""


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

    A member that fails is a score with its reason. Members that sweep patches have no answer to a single image.

    Args:
        series: the study.
        pool: its members of trials need a calibration, see `pool.calibration`.
        settings: see there.
        on_progress: called with members done and in all.

    Raises:
        SettingsError: a pool without members of trials.
        InconsistentStudyError: an image that shows nothing.
    """
    members = [member for member in pool.members if member.entry.network.kind != PATCH_KIND]
    if not members:
        remedy = "Make one with `python -m tune asl train` and `python -m tune asl mix`."
        raise SettingsError(f"pool {pool.manifest.name}", "needs members of trials for ASL", "patches alone", remedy)
    torch.set_num_threads(settings.n_threads)
    image = mean_control(series.control)
    answers: dict[str, TrialMaps] = {}
    scores = []
    for number, member in enumerate(members, 1):
        entry = member.entry
        try:
            sums = run_trials(sampler_of(member.network), image, settings.trials)
            assert sums is not None  # only `keep_going` makes it None
            answers[entry.id] = TrialMaps.of(sums)
            found = {"mcd_uncertainty": answers[entry.id].mcd_uncertainty}
            scores.append(CalibratedScore.of(entry, found, settings.trials.n_trials))
        except PoolError as error:
            scores.append(CalibratedScore.of(entry, {}, failure=str(error)))
        on_progress(number, len(members))
    selection = select_calibrated([member.entry for member in members], scores)
    if selection.chosen is None:
        empty, nothing = np.zeros(image.shape[1:], bool), np.full(image.shape[1:], np.nan, np.float32)
        why = "there is no outline"
        return AslAnalysis(series, pool.manifest, settings, image[0], answers, selection, empty, nothing, (), why)
    chosen = answers[selection.chosen]
    flow, why = _flow(series, chosen, settings.values)
    return AslAnalysis(
        series, pool.manifest, settings, image[0], answers, selection, chosen.mask, chosen.uncertainty, flow, why
    )


def values_for(series: AslSeries, field_t: float | None = None) -> AslValues:
    """What the flow of a study is read with.

    Args:
        series: the study, which may know its field strength.
        field_t: field strength as the user says [T]; None takes the study's, or else that of the second paper.

    Raises:
        SettingsError: a field strength for which no relaxation times are tabulated.
    """
    return AslValues(field_t=field_t or series.field_t or AslValues.field_t)


def mean_control(control: np.ndarray) -> SliceFrames:
    """The image that is outlined: the mean of the control images, standardised, float32 `1 row col`.

    Args:
        control: `pair row col`.

    Raises:
        InconsistentStudyError, NonFiniteError: an image that shows nothing.
    """
    return standardised(control.mean(axis=0)[None], "mean control image")


def _flow(series: AslSeries, chosen: TrialMaps, values: AslValues) -> tuple[tuple[AslRegionFlow, ...], str]:
    """Flow of the outline and of its segments, or why there is none."""
    if series.baseline is None or series.ti_s is None:
        return (), "flow needs a baseline image and inversion times"
    if series.flow_refused:
        return (), series.flow_refused
    try:
        numbers, masks = _segments(series, chosen)
        regions = [chosen.mask, *masks]
        found = measure_asl(series.control, series.labelled, series.baseline, series.ti_s, regions, values)
    except PoolError as error:
        return (), str(error)
    names = ["myocardium", *(SEGMENT_NAMES[number] for number in numbers)]
    return tuple(_region(name, found, row) for row, name in enumerate(names)), ""


def _segments(series: AslSeries, chosen: TrialMaps) -> tuple[list[int], list[Mask]]:
    """Numbers and masks of the AHA segments; none where the member tells no RV apart."""
    if len(chosen.probability) <= BLOOD_POOL:
        return [], []
    blood = chosen.probability[BLOOD_POOL] >= MASK_THRESHOLD
    regions = SliceRegions.of(LEVEL, LEVEL, chosen.mask, blood, series.pixel_spacing_mm)
    orientation = find_insertion(regions, series.pixel_spacing_mm, clockwise=True)
    if orientation is None:
        return [], []
    segments = segment_map(regions, orientation, series.pixel_spacing_mm, clockwise=True)
    numbers = [int(number) for number in np.unique(segments[segments > 0])]
    return numbers, [segments == number for number in numbers]


def _region(name: str, found: AslFlow, row: int) -> AslRegionFlow:
    noise = float(found.physiological_noise[row])
    return AslRegionFlow(name, float(found.mbf_ml_min_g[row]), noise if np.isfinite(noise) else None)
