"""What a pool's outlines make of blood flow: the paper's Appendix E on phantom dual-bolus studies.

Every study is outlined by the experts' labels, by the data-adaptive choice (`min-u_pp`) and by the established approach
(`best-validation`); flow is measured alike under all three and compared segment by segment, also with the truth.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pool.errors import PoolError, SettingsError
from pool.evaluation.agreement import Agreement, agreement
from pool.flow_check import sequence_of, true_outlines
from pool.member import Pool
from pool.perfusion.arterial import PREBOLUS, AifSeries
from pool.perfusion.measure import measure_flow
from pool.perfusion.regions import SliceRegions
from pool.perfusion.results import StudyFlow
from pool.phantom.presets import PRESETS, get_preset
from pool.phantom.study import make_study
from pool.phantom.study_types import PhantomStudy
from pool.preprocess import PreparedSlice, prepare
from pool.results import NOT_FOR_DIAGNOSIS
from pool.selection import select
from pool.shapes import BLOOD_POOL, MYOCARDIUM
from pool.sweep import MASK_THRESHOLD, SweepSettings
from tune.evaluation.report import write_whole
from tune.evaluation.sweeps import KeptSweeps

MANUAL, DAUGS, ESTABLISHED, TRUTH = "manual", "min-u_pp", "best-validation", "truth"
RULES = (DAUGS, ESTABLISHED)
COMPARISONS = ((DAUGS, MANUAL), (ESTABLISHED, MANUAL), (DAUGS, TRUTH), (ESTABLISHED, TRUTH), (MANUAL, TRUTH))
"""Measurement and reference of each comparison."""
FLOW_REPORT = "mbf.json"


@dataclass(frozen=True)
class SegmentRow:
    """Flows of one segment of one study [mL/min/g]; a rule without a flow there is absent."""

    study: str
    segment: int
    stress: bool
    values: Mapping[str, float]
    """By `manual`, `min-u_pp`, `best-validation`, `truth`."""


@dataclass(frozen=True, eq=False)
class FlowSet:
    """All segments of one set."""

    name: str
    rows: tuple[SegmentRow, ...]
    reasons: tuple[str, ...]
    """Why an outline of a study gave no flow at all."""

    def pairs(self, measured: str, reference: str) -> tuple[np.ndarray, np.ndarray]:
        """Segments that have both."""
        found = [
            (row.values[measured], row.values[reference])
            for row in self.rows
            if measured in row.values and reference in row.values
        ]
        array = np.array(found).reshape(-1, 2)
        return array[:, 0], array[:, 1]

    def agreements(self) -> dict[tuple[str, str], Agreement]:
        """Of all comparisons that have enough pairs."""
        found = {}
        for measured, reference in COMPARISONS:
            first, second = self.pairs(measured, reference)
            if len(first) >= 3:
                found[measured, reference] = agreement(first, second)
        return found

    def n_missing(self, rule: str) -> int:
        """Segments that have a manual flow but none under this rule."""
        return sum(MANUAL in row.values and rule not in row.values for row in self.rows)


def evaluate_flow(
    pool: Pool,
    presets: Sequence[str],
    n_subjects: int,
    seed: int,
    sweep: SweepSettings,
    out_dir: Path,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[FlowSet, ...]:
    """Measure flow under three outlines on phantom dual-bolus studies.

    Args:
        pool: all members.
        presets: names of phantom presets.
        n_subjects: studies a preset.
        seed: of the studies.
        sweep: of the members.
        out_dir: where sweeps are kept.
        on_progress: called with sweeps made or found, and all of them.

    Raises:
        SettingsError: a set that is no phantom preset, as flow needs raw frames and a prebolus.
    """
    if unknown := [name for name in presets if name not in PRESETS]:
        raise SettingsError(
            "blood flow", f"is evaluated on phantom presets: {', '.join(PRESETS)}", unknown[0], "Leave the set out."
        )
    pool.manifest.require_patches()
    sweeps = KeptSweeps(out_dir, pool, sweep)
    n_all = 3 * len(presets) * n_subjects * len(pool.of_patches)

    def report() -> None:
        on_progress(sweeps.n_swept + sweeps.n_kept, n_all)

    sets = []
    for name in presets:
        rows: list[SegmentRow] = []
        reasons: list[str] = []
        for number in range(1, n_subjects + 1):
            digest = hashlib.sha256(f"flow evaluation:{name}:{seed}:{number}".encode()).digest()
            study = make_study(get_preset(name), int.from_bytes(digest[:6], "little"), dual_bolus=True)
            label = f"{name}-{number:03d}"
            flows: dict[str, StudyFlow] = {}
            for rule, outlines in _outlines(pool, study, sweeps, report).items():
                try:
                    flows[rule] = _measure(study, outlines)
                except PoolError as error:
                    reasons.append(f"{label}, {rule}: {error}")
            rows += _rows(label, study, flows)
        sets.append(FlowSet(name, tuple(rows), tuple(reasons)))
    return tuple(sets)


def _measure(study: PhantomStudy, outlines: Mapping[int, SliceRegions]) -> StudyFlow:
    assert study.prebolus is not None  # made with two boluses
    other = AifSeries(study.prebolus.series, PREBOLUS)
    return measure_flow(study.series, sequence_of(study.scan), outlines, other=other)[0]


def _outlines(
    pool: Pool, study: PhantomStudy, sweeps: KeptSweeps, report: Callable[[], None]
) -> dict[str, dict[int, SliceRegions]]:
    """Outlines by the experts and by both rules, by number of the slice."""
    members = {member.entry.id: member for member in pool.of_patches}
    found: dict[str, dict[int, SliceRegions]] = {MANUAL: dict(true_outlines(study)), **{rule: {} for rule in RULES}}
    for i, prepared in enumerate(prepare(study.series)):
        answers = sweeps.answers(prepared, report)
        scores = [answers[key].score(member) for key, member in members.items()]
        for rule in RULES:
            chosen = select(scores, rule).chosen
            if chosen is not None and (regions := _regions(pool, chosen, prepared, study)) is not None:
                found[rule][i] = regions
    return found


def _regions(pool: Pool, chosen: str, prepared: PreparedSlice, study: PhantomStudy) -> SliceRegions | None:
    """Wall and cavities of the chosen member: its S-map and blood pool need the stride-16 patches alone."""
    member = next(member for member in pool.of_patches if member.entry.id == chosen)
    maps = member.analyse(prepared, SweepSettings(stride_px=SweepSettings.mask_stride_px))
    spacing = study.series.pixel_spacing_mm
    assert maps is not None  # nothing asks it to stop
    assert spacing is not None
    wall = prepared.way_back.to_native(maps.probability[MYOCARDIUM]) >= MASK_THRESHOLD
    if not wall.any():
        return None
    blood = np.zeros_like(wall)
    if len(maps.probability) > BLOOD_POOL:
        blood = (prepared.way_back.to_native(maps.probability[BLOOD_POOL]) >= MASK_THRESHOLD) & ~wall
    return SliceRegions.of(prepared.name, prepared.name, wall, blood, spacing)


def _rows(label: str, study: PhantomStudy, flows: Mapping[str, StudyFlow]) -> list[SegmentRow]:
    values: dict[int, dict[str, float]] = {}
    for rule, flow in flows.items():
        for item in flow.segments:
            if item.mbf_ml_min_g is not None:
                values.setdefault(item.number, {})[rule] = item.mbf_ml_min_g
    if MANUAL in flows:  # the truth is that of the experts' segments
        for shown in flows[MANUAL].slices:
            truth = study.mbf_ml_min_g[study.series.slice_names.index(shown.name)]
            for number in np.unique(shown.segment[shown.segment > 0]):
                inside = shown.averaged & (shown.segment == number) & (truth > 0)
                if inside.any():
                    values.setdefault(int(number), {})[TRUTH] = float(truth[inside].mean())
    return [SegmentRow(label, number, study.stress, values[number]) for number in sorted(values)]


def write_flow_report(sets: Sequence[FlowSet], out_dir: Path) -> None:
    """Write `mbf.json` and a figure a set like the paper's S2 and S3.

    Raises:
        OutputError: the folder cannot be written.
    """
    fields: list[dict[str, Any]] = [
        {
            "name": item.name,
            "agreements": [
                {"measured": pair[0], "reference": pair[1], **asdict(found)}
                for pair, found in item.agreements().items()
            ],
            "n_missing": {rule: item.n_missing(rule) for rule in RULES},
            "reasons": list(item.reasons),
            "segments": [asdict(row) for row in item.rows],
        }
        for item in sets
    ]
    text = json.dumps({"notice": NOT_FOR_DIAGNOSIS, "unit": "mL/min/g", "sets": fields}, indent=1)
    write_whole(out_dir / FLOW_REPORT, (text + "\n").encode())
    for item in sets:
        if len(item.agreements()) > 1:
            write_whole(out_dir / f"mbf-{item.name}.png", _figure(item))


def _figure(item: FlowSet) -> bytes:
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from pool.figures.agreement import draw_bland_altman, draw_regression

    figure = Figure(figsize=(8, 7), layout="constrained")
    axes = figure.subplots(2, 2)
    for rule, (left, right) in zip(RULES, axes):
        found = item.agreements().get((rule, MANUAL))
        if found is None:
            continue
        measured, reference = item.pairs(rule, MANUAL)
        draw_regression(measured, reference, found, left, (rule, "manual outlines"))
        draw_bland_altman(measured, reference, found, right)
    figure.suptitle(f"{item.name}: blood flow of segments under two rules' outlines", fontsize=10)
    figure.supxlabel(NOT_FOR_DIAGNOSIS, fontsize=7)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=130)
    return buffer.getvalue()
