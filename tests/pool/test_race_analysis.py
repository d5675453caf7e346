"""A race in an analysis: the maps of a plain sweep, honest scores, the same masks, progress and files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from pool.__main__ import main, summary
from pool.analysis import AnalysisSettings, StudyAnalysis, analyse
from pool.errors import SettingsError
from pool.figures.overlay import overlay_figure, overlay_png
from pool.member import Pool
from pool.race_settings import RaceLevel, RaceSettings
from pool.results import members_npz, result_dict
from pool.selection import Selection
from pool.sweep import SweepSettings
from tests.samples import bolus_series, tiny_pool

EXHAUSTIVE = AnalysisSettings(sweep=SweepSettings(stride_px=8))
WIDE, TIGHT = (replace(EXHAUSTIVE, rule="min-u_pp-race", race=RaceSettings((RaceLevel(25, m),))) for m in (1e9, 0.0))


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    tiny_pool(folder)
    return Pool.load(folder)


@pytest.fixture(scope="module")
def exhaustive(pool: Pool) -> StudyAnalysis:
    return analyse(bolus_series(), pool, EXHAUSTIVE)


@pytest.fixture(scope="module")
def raced(pool: Pool) -> StudyAnalysis:
    return analyse(bolus_series(), pool, replace(TIGHT, race=replace(TIGHT.race, audit=True)))  # type: ignore[type-var]


def test_a_race_that_nobody_leaves_is_the_exhaustive_rule(pool: Pool, exhaustive: StudyAnalysis) -> None:
    seen: list[tuple[int, int]] = []
    found = analyse(bolus_series(), pool, WIDE, lambda *progress: seen.append(progress))
    assert found.slices[0].selection.chosen == exhaustive.slices[0].selection.chosen
    assert np.abs(found.uncertainties - exhaustive.uncertainties).max() < 1e-6
    assert np.array_equal(found.masks, exhaustive.masks)
    for mine, other in zip(found.slices[0].selection.scores, exhaustive.slices[0].selection.scores, strict=True):
        assert mine.u_pp == pytest.approx(other.u_pp, rel=1e-6)
        assert (mine.n_patches, other.n_patches, mine.u_pp_estimate) == (81, 81, None)
    assert [done for done, _ in seen] == [25, 50, 75, 131, 187, 243]
    assert seen[-1] == (243, 243)
    assert [total for _, total in seen] == sorted(total for _, total in seen)


def test_members_that_left_are_honest_about_it(raced: StudyAnalysis, exhaustive: StudyAnalysis) -> None:
    item = raced.slices[0]
    chosen = item.selection.chosen
    assert chosen is not None
    whole = exhaustive.slices[0].selection.score_of(chosen).u_pp
    assert item.selection.score_of(chosen).u_pp == pytest.approx(whole, rel=1e-6)
    others = [score for score in item.selection.scores if score.member_id != chosen]
    assert [(score.u_pp, score.u_tot, score.n_patches, score.ineligible) for score in others] == [
        (None, None, 25, "")
    ] * 2
    assert all(score.u_pp_estimate for score in others)
    assert members_npz(raced) == members_npz(exhaustive)


def test_the_result_says_what_the_race_did(raced: StudyAnalysis, exhaustive: StudyAnalysis) -> None:
    fields = result_dict(raced)["slices"][0]
    assert fields["race"]["levels"] == [{"n_patches": 25, "n_members": 3}, {"n_patches": 81, "n_members": 1}]
    assert (fields["race"]["n_passes"], fields["race"]["n_passes_exhaustive"]) == (3 * 25 + 56, 3 * 81)
    best = exhaustive.slices[0].selection.chosen
    assert fields["race"]["audit"]["chosen"] == best
    assert fields["race"]["audit"]["same"] == (fields["chosen"] == best)
    assert Selection.from_result(fields, "min-u_pp-race") == raced.slices[0].selection
    assert result_dict(exhaustive)["slices"][0]["race"] is None
    assert "131 patch passes instead of 243: 1.9 x fewer" in summary(raced)
    assert "audit: full sweeps of all members choose" in summary(raced)


def test_the_overlay_tells_estimates_from_full_sweeps(raced: StudyAnalysis) -> None:
    scores = overlay_figure(raced).axes[2]
    names = [label.get_text() for label in scores.get_yticklabels()]
    assert names[0] == raced.slices[0].selection.chosen
    assert all(name.endswith(", 25 patches") for name in names[1:])
    assert scores.get_xlabel() == "U_pp, hollow: estimate"
    opacities = [to_rgba(patch.get_facecolor())[3] for patch in scores.patches]
    assert opacities == [1.0, 0.0, 0.0]
    assert overlay_png(raced).startswith(b"\x89PNG")


def test_the_race_is_of_its_rule_alone() -> None:
    assert AnalysisSettings().race is None
    assert AnalysisSettings(rule="min-u_pp-race").race == RaceSettings()
    with pytest.raises(SettingsError, match="race: is of the rule min-u_pp-race alone; found min-u_pp"):
        AnalysisSettings(race=RaceSettings())
    with pytest.raises(SettingsError, match="the last level must be less than the sweep's 81; found 577"):
        replace(EXHAUSTIVE, rule="min-u_pp-race")


def test_the_command_line_refuses_an_audit_of_no_race(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analyse", "study", "--pool", str(tmp_path), "--out", str(tmp_path / "out"), "--audit"]) == 2
    assert capsys.readouterr().err == "error: race: is of the rule min-u_pp-race alone; found min-u_pp.\n"
