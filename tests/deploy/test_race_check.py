"""The check of the race: the same slices in every run, kept results, figures as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from deploy.race_check import check, shifted_slice, summary_table
from pool.member import Pool
from pool.race_settings import RaceLevel, RaceSettings
from pool.sweep import SweepSettings
from tests.samples import tiny_pool


def printed(records: list[dict[str, object]]) -> str:
    console = Console(record=True, width=120)
    console.print(summary_table(records))
    return console.export_text()


def test_a_slice_is_always_the_same_and_hearts_differ() -> None:
    first, again, other = (shifted_slice(number) for number in (1, 1, 4))
    assert np.array_equal(first.frames, again.frames)
    assert first.frames.shape == (30, 128, 128)
    assert not np.array_equal(first.frames, other.frames)


def test_slices_are_raced_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_pool(tmp_path / "pool", 2)
    pool = Pool.load(tmp_path / "pool")
    coarse = SweepSettings(stride_px=16, mask_stride_px=32), RaceSettings((RaceLevel(9, 1e9),))
    records = check(pool, 1, tmp_path / "out", *coarse)
    assert records[0]["audit"]["same"]
    assert records[0]["n_passes"] == 2 * 25
    monkeypatch.setattr("deploy.race_check.race_with_audit", None)
    assert check(pool, 1, tmp_path / "out", *coarse) == records


def test_the_table_counts_what_differs() -> None:
    def record(same: bool, excess: float, n_passes: int) -> dict[str, object]:
        audit = {"chosen": "a", "same": same, "u_pp": 1.0, "u_pp_excess": excess}
        return {"n_passes": n_passes, "n_passes_exhaustive": 100, "audit": audit}

    text = printed([record(True, 0.0, 10), record(True, 0.0, 5), record(False, 0.015, 10), record(False, 0.3, 15)])
    for name, value in (
        ("slices", "4"),
        ("same member", "50 %"),
        ("or U_pp within 2 %", "75 %"),
        ("greatest excess of U_pp", "30 %"),
        ("all slices", "10.0 x fewer"),
        ("least and most saved", "6.7 x, 20.0 x"),
    ):
        assert any(name in line and value in line for line in text.splitlines()), (name, text)
