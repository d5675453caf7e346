"""Options of the command line that say how flow is measured."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pool.errors import SettingsError, StudyError
from pool.flow_options import add_flow_options, flow_inputs, flow_settings, read_sequence
from pool.perfusion.arterial import AIF_SERIES, PREBOLUS
from pool.perfusion.sequence import SequenceValues
from tests.samples import bolus_series, write_npz

SEQUENCE = SequenceValues("flash", 0.1, 12.0, 0.0025, 0.0009, 3.0, 20)


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_flow_options(parser)
    return parser.parse_args(words)


def test_settings_follow_the_options() -> None:
    assert flow_settings(options("--no-flow")) is None
    found = flow_settings(
        options("--dose-ratio", "8", "--agent", "gadoterate", "--t1-blood", "1.9", "--septum-deg", "190")
    )
    assert found is not None
    assert (found.dose_ratio, found.agent, found.t1_blood_s, found.septum_deg) == (8.0, "gadoterate", 1.9, 190.0)


def test_other_series_and_the_sequence_are_read(tmp_path: Path) -> None:
    other, file = write_npz(tmp_path / "other.npz", bolus_series()), tmp_path / "sequence.json"
    file.write_text(json.dumps(asdict(SEQUENCE)))
    series, inputs = flow_inputs(options("--prebolus", str(other), "--sequence", str(file)), bolus_series())
    assert series.sequence == SEQUENCE
    assert inputs.other is not None
    assert inputs.other.kind == PREBOLUS
    _, inputs = flow_inputs(
        options("--aif", str(other), "--aif-sequence", str(file), "--state", "rest"), bolus_series()
    )
    assert inputs.other is not None
    assert (inputs.other.kind, inputs.other.sequence, inputs.state) == (AIF_SERIES, SEQUENCE, "rest")


def test_what_cannot_be_used_is_refused_in_a_sentence(tmp_path: Path) -> None:
    other, file = write_npz(tmp_path / "other.npz", bolus_series()), tmp_path / "sequence.json"
    with pytest.raises(SettingsError, match="is from --prebolus or from --aif; found both"):
        flow_inputs(options("--prebolus", str(other), "--aif", str(other)), bolus_series())
    with pytest.raises(StudyError, match="AIF series: needs a known sequence.*--aif-sequence"):
        flow_inputs(options("--aif", str(other)), bolus_series())
    file.write_text('{"ti_s": 0.1}')
    with pytest.raises(SettingsError, match=r"file sequence.json: must be JSON with the fields readout, ti_s"):
        read_sequence(file)
    with pytest.raises(SettingsError, match="file none.json: must be readable"):
        read_sequence(tmp_path / "none.json")
