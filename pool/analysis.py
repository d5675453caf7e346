"""The whole path in one process: the specification that the service must equal, bit for bit.

prepare_study      -> PreparedSlice a slice
Member.analyse     -> MemberMaps a member and slice   (here a loop; in the service, shards)
conclude           -> Selection a slice, maps on the native grid, contours: a StudyAnalysis
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch

from pool import __version__
from pool.contours import MyocardialContours, outline
from pool.errors import SettingsError
from pool.manifest import PoolManifest
from pool.member import Pool
from pool.preprocess import PreparedSlice, PreprocessSettings, prepare
from pool.selection import RULES, MemberScore, Selection, select
from pool.series import PerfusionSeries
from pool.shapes import MYOCARDIUM, Map, Mask
from pool.sweep import MASK_THRESHOLD, MemberMaps, SweepSettings


@dataclass(frozen=True)
class AnalysisSettings:
    """Everything that decides the numbers of an analysis.

    Raises:
        SettingsError: an unknown selection rule.
    """

    preprocess: PreprocessSettings = field(default_factory=PreprocessSettings)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    rule: str = "min-u_pp"
    """Selection rule, one of `pool.selection.RULES`."""
    n_threads: int = 1
    """Torch's threads in a sweep. The last bits of a U-map may depend on it, hence it is part of the settings."""
    device: str = "cpu"
    """Torch's device; another one gives other last bits."""

    def __post_init__(self) -> None:
        if self.n_threads < 1:
            raise SettingsError("analysis", "n_threads must be at least 1", str(self.n_threads))
        if self.rule not in RULES:
            raise SettingsError("selection rule", f"must be one of {', '.join(RULES)}", repr(self.rule))

    def sha256(self) -> str:
        """Hash of the settings; goes into every result."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class MemberFailure:
    """A member that gave no maps, as a value: a failure is never a lost exception."""

    reason: str


MemberAnswer = MemberMaps | MemberFailure


@dataclass(frozen=True, eq=False)
class SliceAnalysis:
    """What is believed of one slice, on the native grid, and what the choice was made from."""

    name: str
    prepared: PreparedSlice
    selection: Selection
    mask: Mask
    """Myocardium of the chosen member; all False where none could be chosen."""
    probability: Map
    """Myocardial probability of the chosen member; 0 outside the crop; NaN everywhere where none was chosen."""
    uncertainty: Map
    """U-map of the chosen member; 0 outside the crop; NaN everywhere where none was chosen."""
    contours: MyocardialContours | None
    """Endo- and epicardial contour, native pixels, traced on the prepared grid; None where there is no mask."""
    member_masks: Mapping[str, Mask]
    """Every member's mask, by id; members that failed are absent."""


@dataclass(frozen=True, eq=False)
class StudyAnalysis:
    """The result of a study."""

    series: PerfusionSeries
    manifest: PoolManifest
    settings: AnalysisSettings
    slices: tuple[SliceAnalysis, ...]
    software: str = f"perfusion-pool {__version__}"

    @property
    def masks(self) -> np.ndarray:
        """bool `slice row col`, native grid."""
        return np.stack([item.mask for item in self.slices])

    @property
    def uncertainties(self) -> np.ndarray:
        """float32 `slice row col`, native grid."""
        return np.stack([item.uncertainty for item in self.slices])

    @property
    def probabilities(self) -> np.ndarray:
        """float32 `slice row col`, native grid."""
        return np.stack([item.probability for item in self.slices])


def analyse(
    series: PerfusionSeries,
    pool: Pool,
    settings: AnalysisSettings | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> StudyAnalysis:
    """Analyse a study with every member of a pool, one after the other.

    Args:
        series: the study.
        pool: all members, on the device of the settings.
        settings: see `AnalysisSettings`.
        on_progress: called with (sweeps done, sweeps in total) after every member's sweep of a slice.

    Raises:
        StudyError: a study that cannot be analysed, see `pool.errors`.
        SettingsError: a pool that is only a shard, or on another device.
    """
    settings = settings or AnalysisSettings()
    if len(pool.members) != pool.manifest.n_members:
        raise SettingsError(
            "pool", f"must hold all {pool.manifest.n_members} members", str(len(pool.members)), "Load the whole pool."
        )
    if pool.device_type != settings.device.split(":")[0]:
        raise SettingsError("pool", f"must be on the device {settings.device}", pool.device_type, "Load it there.")
    torch.set_num_threads(settings.n_threads)
    prepared = prepare(series, settings.preprocess)
    n_sweeps = len(prepared) * len(pool.members)
    answers: list[dict[str, MemberAnswer]] = []
    for item in prepared:
        answers.append({})
        for member in pool.members:
            maps = member.analyse(item, settings.sweep)
            answers[-1][member.entry.id] = maps or MemberFailure("was stopped")
            if on_progress is not None:
                on_progress(sum(map(len, answers)), n_sweeps)
    return conclude(series, prepared, answers, pool.manifest, settings)


def conclude(
    series: PerfusionSeries,
    prepared: Sequence[PreparedSlice],
    answers: Sequence[Mapping[str, MemberAnswer]],
    manifest: PoolManifest,
    settings: AnalysisSettings,
) -> StudyAnalysis:
    """Select a member slice by slice and take its maps back to the native grid: the reduce step.

    Args:
        series: the study.
        prepared: its prepared slices.
        answers: for every slice, each member's maps or failure by id, in any order; a member of the manifest that is
            absent counts as failed with the reason "gave no answer".
        manifest: of the whole pool.
        settings: rule and thresholds.
    """
    slices = tuple(
        _conclude_slice(item, answer, manifest, settings) for item, answer in zip(prepared, answers, strict=True)
    )
    return StudyAnalysis(series, manifest, settings, slices)


def score_members(answers: Mapping[str, MemberAnswer], manifest: PoolManifest) -> list[MemberScore]:
    """One score for every member of the manifest, in its order."""
    scores = []
    for entry in manifest.members:
        answer = answers.get(entry.id, MemberFailure("gave no answer"))
        maps, failure = (None, answer.reason) if isinstance(answer, MemberFailure) else (answer, "")
        scores.append(MemberScore.from_maps(entry.id, entry.validation_dice, maps, failure))
    return scores


def _conclude_slice(
    prepared: PreparedSlice, answers: Mapping[str, MemberAnswer], manifest: PoolManifest, settings: AnalysisSettings
) -> SliceAnalysis:
    way_back = prepared.way_back
    member_masks = {
        member_id: way_back.to_native(maps.probability[MYOCARDIUM]) >= MASK_THRESHOLD
        for member_id, maps in sorted(answers.items())
        if isinstance(maps, MemberMaps)
    }
    scores = [
        replace(score, ineligible="the mask is empty on the native grid")
        if not score.ineligible and not member_masks[score.member_id].any()
        else score
        for score in score_members(answers, manifest)
    ]
    selection = select(scores, settings.rule)
    chosen = answers[selection.chosen] if selection.chosen is not None else None
    if not isinstance(chosen, MemberMaps):
        nothing = np.full(way_back.native_shape, np.nan, dtype=np.float32)
        mask = np.zeros(way_back.native_shape, dtype=bool)
        return SliceAnalysis(prepared.name, prepared, selection, mask, nothing, nothing, None, member_masks)
    return SliceAnalysis(
        name=prepared.name,
        prepared=prepared,
        selection=selection,
        mask=member_masks[selection.chosen or ""],
        probability=way_back.to_native(chosen.probability[MYOCARDIUM]),
        uncertainty=way_back.to_native(chosen.uncertainty),
        contours=outline(chosen.probability[MYOCARDIUM], way_back),
        member_masks=member_masks,
    )
