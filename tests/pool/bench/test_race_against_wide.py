"""A race against a wider one: both on the same patch passes, each slice once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool.__main__ import main
from pool.bench import race_check
from pool.bench.analysed_study import prepared_slice
from pool.bench.race_against_wide import WIDE, AgainstWide, as_trial, race_against_wide, read_lines
from pool.bench.race_measuring import shifted_slices
from pool.member import Member, Pool
from pool.race_settings import RaceLevel, RaceSettings
from pool.sweep import SweepSettings
from tests.samples import tiny_pool

COARSE = SweepSettings(stride_px=16, mask_stride_px=32)
NARROW, EVERYBODY = (RaceSettings((RaceLevel(9, margin),)) for margin in (0.0, 1e9))


def test_both_races_share_their_passes_and_a_slice_is_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_pool(tmp_path / "pool", 3)
    pool, slices, keep = Pool.load(tmp_path / "pool"), shifted_slices(2), tmp_path / "kept.jsonl"
    asked: list[tuple[str, int, str]] = []
    refine = Member.refine

    def counted(self, prepared, settings, n_patches, start, keep_going=None):  # type: ignore[no-untyped-def]
        asked.append((self.entry.id, n_patches, prepared.name))
        return refine(self, prepared, settings, n_patches, start, keep_going)

    monkeypatch.setattr(Member, "refine", counted)
    found = race_against_wide(pool, slices, COARSE, keep, NARROW, EVERYBODY)
    assert len(asked) == len(set(asked)) == 2 * 3 * 2  # slices, members, levels: the wide race sweeps all in full
    assert [item.n_passes_wide for item in found] == [3 * 25] * 2
    assert all(item.n_passes == 3 * 9 + 16 for item in found)
    for item in found:
        best = min(pool.members, key=lambda member: member.analyse(prepared_of(slices, item), COARSE).u_pp)  # type: ignore[union-attr,arg-type,return-value]
        assert item.expected == best.entry.id
        assert item.least_u_pp <= item.u_pp
    asked.clear()
    assert race_against_wide(pool, slices, COARSE, keep, NARROW, EVERYBODY) == found
    assert asked == []
    keep.write_text(keep.read_text() + '{"slice_name": "cut o')
    assert read_lines(keep) == found
    assert race_against_wide(pool, slices, COARSE, keep, NARROW, EVERYBODY) == read_lines(keep) == found
    (name, frames), second = slices
    race_against_wide(pool, [(name, frames * 0.5), second], COARSE, keep, NARROW, EVERYBODY)
    assert {slice_name for _, _, slice_name in asked} == {name}  # the same name, other pixels


def prepared_of(slices, item: AgainstWide):  # type: ignore[no-untyped-def]
    (frames,) = (frames for name, frames in slices if name == item.slice_name)
    return prepared_slice(item.slice_name, frames)


def test_what_a_race_loses_is_counted_as_against_full_sweeps() -> None:
    found = [AgainstWide("a", "", "m0", "m0", 2.0, 2.0, 100, 500), AgainstWide("b", "", "m1", "m0", 2.1, 2.0, 100, 500)]
    trial = as_trial([*found, AgainstWide("c", "", "", "", 0.0, 0.0, 50, 50)], n_members=4, n_full=100)
    assert (trial.n_slices, trial.same, trial.times_fewer) == (2, 0.5, 4.0)
    assert trial.greatest_excess == pytest.approx(0.05)


def test_the_wide_race_lets_on_more_than_any_winner_needed() -> None:
    needed = {41: 0.365, 73: 0.224, 153: 0.136, 289: 0.086, 577: 0.058}
    assert {level.n_patches for level in WIDE.levels} == set(needed)
    assert all(level.margin > 1.5 * needed[level.n_patches] and level.share == 1.0 for level in WIDE.levels)


def test_the_command_reports_by_kind_of_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_pool(tmp_path / "pool", 2)
    monkeypatch.setattr(
        race_check, "SweepSettings", lambda dtype: SweepSettings(stride_px=16, mask_stride_px=32, dtype=dtype)
    )
    run = race_check.race_against_wide
    monkeypatch.setattr(
        race_check, "race_against_wide", lambda *words, **more: run(*words, race=EVERYBODY, wide=EVERYBODY, **more)
    )
    words = ["race-check", "--pool", str(tmp_path / "pool"), "--out", str(tmp_path / "out"), "--slices", "1", "--wide"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "race, phantom: 1 slices: 1.0 times fewer patch passes (least 1.0), same member 100.0%" in shown
    assert "the wide race took 1.0 times fewer than full sweeps" in shown
    assert main([*words, "--dtypes", "float32,bfloat16"]) == 2
    assert "race check: --wide measures anew, in one data type; found float32, bfloat16." in capsys.readouterr().err
