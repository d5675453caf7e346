"""`python -m pool race-check` on made-up and on tiny measures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pool.__main__ import main
from pool.bench import race_check, race_measuring
from pool.bench.race_check import dtype_change, report_of
from pool.manifest import PoolManifest
from pool.race_measures import RaceMeasures
from pool.race_settings import RaceLevel, RaceSettings
from pool.sweep import SweepSettings
from tests.pool.races import manifest_of
from tests.samples import tiny_pool


def made_up() -> RaceMeasures:
    """Two data types, a phantom and a real slice, three members; the second type prefers b on the phantom."""
    u_pp = np.array([[[1.0, 1.02, 2.0], [3.0, 2.0, 1.0]], [[1.1, 1.05, 2.0], [3.0, 2.0, 1.0]]])
    n_myo = np.full((2, 2, 3), 10)
    n_myo[1, 0, 2] = 0
    return RaceMeasures(
        prefixes=(41, 1089),
        dtypes=("float32", "bfloat16"),
        member_ids=("a", "b", "c"),
        slice_names=("exD-1-0-0", "real-x"),
        u_tot=np.stack([10 * u_pp, 10 * u_pp], axis=-1),
        n_myo=n_myo,
        pool_sha256=manifest_of("a", "b", "c").sha256(),
    )


def test_what_a_data_type_changes_is_counted_slice_by_slice() -> None:
    found = dtype_change(made_up(), 1, np.array([True, False]))
    assert found["largest_u_pp_change"] == pytest.approx(0.1)
    assert found["n_masks_emptied_or_filled"] == 1
    assert found["other_choices"] == [
        {"slice": "exD-1-0-0", "reference": "a", "chosen": "b", "u_pp_excess": pytest.approx(0.02)}
    ]


def test_the_report_tells_phantom_from_real_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(race_check, "RaceSettings", lambda: RaceSettings((RaceLevel(41, 0.0),)))
    report = report_of(made_up(), manifest_of("a", "b", "c"))
    assert report["races"]["phantom"]["n_slices"] == report["races"]["real"]["n_slices"] == 1
    assert report["races"]["phantom"]["times_fewer"] == pytest.approx(3 * 1089 / (3 * 41 + 1048))
    assert report["dtypes"]["bfloat16, real"]["other_choices"] == []
    assert "  exD-1-0-0: b instead of a, U_pp 2.000% greater" in report["in_words"]
    phantom_alone = replace(made_up(), slice_names=("exD-1-0-0", "exD-2-2-1"))
    assert list(report_of(phantom_alone, manifest_of("a", "b", "c"))["races"]) == [
        "phantom",
        "phantom, hearts to choose by",
    ]


def test_the_command_measures_once_and_reports_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_pool(tmp_path / "pool", 2)
    coarse = SweepSettings(stride_px=16, mask_stride_px=32)
    measure = race_measuring.measure_races
    monkeypatch.setattr(race_check, "measure_races", lambda *words, **more: measure(*words, coarse, (9, 25), **more))
    monkeypatch.setattr(race_check, "RaceSettings", lambda: RaceSettings((RaceLevel(9, 1e9),)))
    words = ["race-check", "--pool", str(tmp_path / "pool"), "--out", str(tmp_path / "out")]
    assert main([*words, "--slices", "1", "--dtypes", "float32,bfloat16"]) == 0
    shown = capsys.readouterr().out
    assert "race, phantom: 1 slices: 1.0 times fewer patch passes (least 1.0), same member 100.0%" in shown
    assert "bfloat16, phantom: largest change of U_pp" in shown
    first = json.loads((tmp_path / "out" / "race-check.json").read_text())
    assert first["pool_sha256"] == PoolManifest.load(tmp_path / "pool").sha256()
    monkeypatch.setattr(race_check, "measure_races", None)
    assert main([*words, "--from", str(tmp_path / "out" / "race-measures.npz")]) == 0
    again = json.loads((tmp_path / "out" / "race-check.json").read_text())
    assert again == {**first, "machine": None}
    tiny_pool(tmp_path / "other", 3)
    words[2] = str(tmp_path / "other")
    assert main([*words, "--from", str(tmp_path / "out" / "race-measures.npz")]) == 2
    assert "race check: --from must be measures of the pool; found those of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dtypes", "float32,float8"], "race check: --dtypes must be of float32, tf32, bfloat16; found float8."),
        (["--slices", "0"], "race check: --slices must be at least 1; found 0."),
    ],
)
def test_nonsense_is_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["race-check", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
