"""The whole path in one process: the specification that the service must equal, bit for bit.

prepare_study      -> PreparedSlice a slice
Member.analyse     -> MemberMaps a member and slice   (here a loop; in the service, shards)
Member.refine      -> or, in a race, Moments a member, slice and level
conclude           -> Selection a slice, maps on the native grid, contours: a StudyAnalysis
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pool import __version__
from pool.analysis_settings import AnalysisSettings
from pool.answers import MemberAnswer, MemberFailure, RacedOut, native_mask, score_members
from pool.contours import MyocardialContours, outline
from pool.errors import SettingsError
from pool.flow import FlowInputs, study_flow
from pool.manifest import PoolManifest
from pool.member import Pool
from pool.perfusion.results import NoFlow, StudyFlow
from pool.preprocess import PreparedSlice, WayBack, prepare
from pool.race import SliceRace, run_race
from pool.race_record import RaceRecord
from pool.selection import Selection, select
from pool.series import PerfusionSeries
from pool.shapes import BLOOD_POOL, MYOCARDIUM, Map, Mask
from pool.sweep import MASK_THRESHOLD, MemberMaps, SweepSettings


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
    member_maps: Mapping[str, MemberMaps | RacedOut]
    """Every member's maps on the prepared grid, by id; members that failed are absent."""
    race: RaceRecord | None = None
    """What the race did; None under every other rule."""
    blood: Mask | None = None
    """Blood pool of the chosen member, LV, RV and whatever else it took for blood; None where none was chosen, or
    where the pool knows no blood."""


@dataclass(frozen=True, eq=False)
class StudyAnalysis:
    """The result of a study."""

    series: PerfusionSeries
    manifest: PoolManifest
    settings: AnalysisSettings
    slices: tuple[SliceAnalysis, ...]
    flow: StudyFlow | NoFlow | None = None
    """Blood flow, why there is none, or None where none was asked for."""
    software: str = f"perfusion-pool {__version__}"

    @property
    def n_absent(self) -> int:
        """Sweeps, over all slices and members, that gave no answer."""
        return sum(len(self.manifest.of_patches) - len(item.member_masks) for item in self.slices)

    @property
    def few_answers(self) -> str:
        """Slices about which members gave no answer, in words; empty where all members answered about all."""
        n_members = len(self.manifest.of_patches)
        few = [(item.name, len(item.member_masks)) for item in self.slices if len(item.member_masks) < n_members]
        return ", ".join(f"{n} of {n_members} members answered about slice {name}" for name, n in few)

    @property
    def masks(self) -> np.ndarray:
        """bool `slice row col`, native grid."""
        return np.stack([item.mask for item in self.slices])

    @property
    def blood(self) -> np.ndarray | None:
        """Blood pool, bool `slice row col`, native grid, False where none was chosen; None for pools that know none."""
        if all(item.blood is None for item in self.slices):
            return None
        return np.stack([np.zeros_like(item.mask) if item.blood is None else item.blood for item in self.slices])

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
    inputs: FlowInputs | None = None,
) -> StudyAnalysis:
    """Analyse a study with every member of a pool that sweeps patches, one after the other.

    Args:
        series: the study.
        pool: all members, on the device of the settings; those of trials, which take ASL images, are left out.
        settings: see `AnalysisSettings`.
        on_progress: called with (sweeps done, sweeps in total) after every member's sweep of a slice; in a race with
            patch passes, whose total grows as it becomes known who goes on.
        inputs: what blood flow can be measured with beside the study itself.

    Raises:
        StudyError: a study that cannot be analysed, see `pool.errors`.
        SettingsError: a pool that is only a shard, on another device, or without members that sweep patches.
    """
    settings = settings or AnalysisSettings()
    if len(pool.members) != pool.manifest.n_members:
        raise SettingsError(
            "pool", f"must hold all {pool.manifest.n_members} members", str(len(pool.members)), "Load the whole pool."
        )
    if pool.device_type != settings.device.split(":")[0]:
        raise SettingsError("pool", f"must be on the device {settings.device}", pool.device_type, "Load it there.")
    pool.manifest.require_patches()
    torch.set_num_threads(settings.n_threads)
    prepared = prepare(series, settings.preprocess)
    if settings.race is not None:
        races = [SliceRace(item, pool.manifest, settings.sweep, settings.race) for item in prepared]
        _run_races(races, prepared, pool, settings.sweep, on_progress)
        return conclude_races(series, prepared, races, pool.manifest, settings, inputs)
    n_sweeps = len(prepared) * len(pool.of_patches)
    answers: list[dict[str, MemberAnswer]] = []
    for item in prepared:
        answers.append({})
        for member in pool.of_patches:
            maps = member.analyse(item, settings.sweep)
            answers[-1][member.entry.id] = maps or MemberFailure("was stopped")
            if on_progress is not None:
                on_progress(sum(map(len, answers)), n_sweeps)
    return conclude(series, prepared, answers, pool.manifest, settings, inputs)


def _run_races(
    races: Sequence[SliceRace],
    prepared: Sequence[PreparedSlice],
    pool: Pool,
    sweep: SweepSettings,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    def count() -> None:
        if on_progress is not None:
            on_progress(*race_progress(races))

    for item, race in zip(prepared, races, strict=True):
        run_race(race, item, pool, sweep, count)


def race_progress(races: Sequence[SliceRace]) -> tuple[int, int]:
    """Patch passes done, and those that are certain by now, over all slices: (n, n) only when all is done."""
    return sum(race.n_passes for race in races), sum(race.n_passes_expected for race in races)


def conclude_races(
    series: PerfusionSeries,
    prepared: Sequence[PreparedSlice],
    races: Sequence[SliceRace],
    manifest: PoolManifest,
    settings: AnalysisSettings,
    inputs: FlowInputs | None = None,
) -> StudyAnalysis:
    """`conclude` for races that have ended, one a slice."""
    analysis = conclude(series, prepared, [race.answers() for race in races], manifest, settings, inputs)
    slices = tuple(replace(item, race=race.record()) for item, race in zip(analysis.slices, races, strict=True))
    return replace(analysis, slices=slices)


def conclude(
    series: PerfusionSeries,
    prepared: Sequence[PreparedSlice],
    answers: Sequence[Mapping[str, MemberAnswer]],
    manifest: PoolManifest,
    settings: AnalysisSettings,
    inputs: FlowInputs | None = None,
) -> StudyAnalysis:
    """Select a member slice by slice and take its maps back to the native grid: the reduce step.

    Args:
        series: the study.
        prepared: its prepared slices.
        answers: for every slice, each member's maps or failure by id, in any order; a member of the manifest that is
            absent counts as failed with the reason "gave no answer".
        manifest: of the whole pool.
        settings: rule and thresholds.
        inputs: what blood flow can be measured with beside the study itself.
    """
    slices = tuple(
        _conclude_slice(item, answer, manifest, settings) for item, answer in zip(prepared, answers, strict=True)
    )
    flow = None if settings.flow is None else study_flow(series, slices, settings.flow, inputs)
    return StudyAnalysis(series, manifest, settings, slices, flow)


def _conclude_slice(
    prepared: PreparedSlice, answers: Mapping[str, MemberAnswer], manifest: PoolManifest, settings: AnalysisSettings
) -> SliceAnalysis:
    way_back = prepared.way_back
    maps = {key: answer for key, answer in sorted(answers.items()) if not isinstance(answer, MemberFailure)}
    member_masks = {member_id: native_mask(answer, way_back) for member_id, answer in maps.items()}
    scores = score_members(answers, manifest, settings.sweep.grid(way_back.image_px).n_patches, member_masks)
    selection = select(scores, settings.rule)
    chosen = answers[selection.chosen] if selection.chosen is not None else None
    if not isinstance(chosen, MemberMaps):
        nothing = np.full(way_back.native_shape, np.nan, dtype=np.float32)
        mask = np.zeros(way_back.native_shape, dtype=bool)
        return SliceAnalysis(prepared.name, prepared, selection, mask, nothing, nothing, None, member_masks, maps)
    return SliceAnalysis(
        name=prepared.name,
        prepared=prepared,
        selection=selection,
        mask=member_masks[selection.chosen or ""],
        probability=way_back.to_native(chosen.probability[MYOCARDIUM]),
        uncertainty=way_back.to_native(chosen.uncertainty),
        contours=outline(chosen.probability[MYOCARDIUM], way_back),
        member_masks=member_masks,
        member_maps=maps,
        blood=_native_blood(chosen, way_back, member_masks[selection.chosen or ""]),
    )


def _native_blood(chosen: MemberMaps, way_back: WayBack, myocardium: Mask) -> Mask | None:
    """Blood pool on the native grid, by the rule of the myocardium, which goes first where both just reach it."""
    if len(chosen.probability) <= BLOOD_POOL:
        return None
    return (way_back.to_native(chosen.probability[BLOOD_POOL]) >= MASK_THRESHOLD) & ~myocardium
