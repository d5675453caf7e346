"""Blood flow under a pool's outlines: from members that draw the truth to table, report and figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import tune.evaluation.flow as flow_module
from pool.errors import SettingsError
from pool.member import Member, Pool
from pool.phantom.presets import Preset
from pool.phantom.study import make_study
from pool.phantom.study_types import PhantomStudy
from pool.preprocess import PreparedSlice
from pool.sweep import MemberMaps, SweepSettings
from tests.samples import tiny_pool
from tune.evaluation.flow import (
    DAUGS,
    ESTABLISHED,
    MANUAL,
    TRUTH,
    FlowSet,
    SegmentRow,
    evaluate_flow,
    write_flow_report,
)
from tune.evaluation.flow_table import flow_remarks, flow_table


def rows(n: int = 8) -> tuple[SegmentRow, ...]:
    made = []
    for i in range(n):
        truth = 0.6 + 0.4 * i
        values = {MANUAL: 1.02 * truth, DAUGS: 1.05 * truth, ESTABLISHED: truth + (-1) ** i * 0.3, TRUTH: truth}
        if i == 3:
            del values[ESTABLISHED]
        made.append(SegmentRow("s", i + 1, True, values))
    return tuple(made)


def test_agreements_are_of_segments_that_have_both() -> None:
    found = FlowSet("inD", rows(), ("inD-001, min-u_pp: none",))
    pairs = found.agreements()
    assert pairs[DAUGS, TRUTH].bias_percent == pytest.approx(5)
    assert pairs[DAUGS, MANUAL].slope == pytest.approx(1.05 / 1.02)
    assert pairs[ESTABLISHED, MANUAL].n == 7
    assert pairs[ESTABLISHED, MANUAL].r_squared < pairs[DAUGS, MANUAL].r_squared
    assert flow_remarks(found) == ["inD, best-validation: 1 segments without a flow", "inD-001, min-u_pp: none"]


def test_a_set_of_prepared_slices_has_no_flow(tmp_path: Path) -> None:
    tiny_pool(tmp_path / "pool", 2)
    with pytest.raises(SettingsError, match="blood flow: is evaluated on phantom presets.*found real"):
        evaluate_flow(Pool.load(tmp_path / "pool"), ["real"], 1, 1, SweepSettings(stride_px=16), tmp_path)


def test_a_pool_that_draws_the_truth_has_the_flow_of_the_experts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_pool(tmp_path / "pool", 2)
    made: list[PhantomStudy] = []

    def one_study(preset: Preset, seed: int, dual_bolus: bool) -> PhantomStudy:
        made.append(make_study(preset, seed, 40, dual_bolus))
        return made[-1]

    def truth(self: Member, prepared: PreparedSlice, settings: SweepSettings) -> MemberMaps:
        at = made[-1].series.slice_names.index(prepared.name)
        labels = prepared.way_back.labels_from_native(made[-1].labels[at])
        moved = np.roll(labels, self.entry.seed, axis=0)
        probability = np.stack([moved == k for k in range(3)]).astype(np.float32)
        n_myo = int(probability[1].sum())
        return MemberMaps(probability[1] > 0.5, probability, 0 * probability[0], (1.0 + self.entry.seed) * n_myo, n_myo)

    monkeypatch.setattr(flow_module, "make_study", one_study)
    monkeypatch.setattr(Member, "analyse", truth)
    pool = Pool.load(tmp_path / "pool")
    found = evaluate_flow(pool, ["exD-1"], 1, 2, SweepSettings(stride_px=16), tmp_path / "out")
    agreement = found[0].agreements()[DAUGS, MANUAL]
    assert agreement.n >= 14
    assert agreement.r_squared > 0.9
    assert abs(agreement.bias_percent) < 6
    write_flow_report(found, tmp_path / "out")
    fields = json.loads((tmp_path / "out" / "mbf.json").read_text())
    assert fields["sets"][0]["agreements"][0]["measured"] == DAUGS
    assert (tmp_path / "out" / "mbf-exD-1.png").read_bytes()[:4] == b"\x89PNG"
    console = Console(width=120, record=True, quiet=False)
    console.print(flow_table(found[0]))
    assert "min-u_pp - manual" in console.export_text()
