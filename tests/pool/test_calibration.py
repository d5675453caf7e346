"""From scores to expected Dice, and the choice by them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pool.calibrated_selection import CalibratedScore, select_calibrated
from pool.calibration import Calibration
from pool.errors import PoolFolderError, SettingsError
from pool.manifest import MemberEntry, PoolManifest, save_manifest
from pool.networks import NetworkSpec
from tests.samples import tiny_pool


def calibration(*knots: tuple[float, float], score: str = "mcd_uncertainty") -> Calibration:
    return Calibration(score, knots, 60, 0.03, "0" * 64, n_trials=100)


def entry(member_id: str, known: Calibration | None, kind: str = "mcd-unet") -> MemberEntry:
    return MemberEntry(member_id, 1, 1, 0.9, NetworkSpec(kind, 2, 1, 1), "0" * 64, known)


def test_expected_dice_is_linear_between_knots_and_constant_beyond() -> None:
    found = calibration((0.2, 0.9), (0.4, 0.7))
    assert [found.expected_dice(score) for score in (0.0, 0.2, 0.3, 0.4, 9.0)] == pytest.approx(
        [0.9, 0.9, 0.8, 0.7, 0.7]
    )


def test_a_learned_curve_falls_where_the_images_do_and_only_there() -> None:
    made = np.random.default_rng(1)
    scores = made.uniform(0.2, 1.0, 300)
    dices = np.clip(1.0 - 0.4 * scores + 0.02 * made.standard_normal(300), 0, 1)
    found = Calibration.learn("mcd_uncertainty", scores, dices, "a" * 64)
    assert len(found.knots) == 12
    for score in (0.3, 0.6, 0.9):
        assert found.expected_dice(score) == pytest.approx(1 - 0.4 * score, abs=0.015)
    assert found.residual_sd == pytest.approx(0.02, rel=0.2)
    rising = Calibration.learn("mcd_uncertainty", scores, 1 - dices, "a" * 64)  # a score that tells nothing: flat
    assert rising.expected_dice(0.2) == pytest.approx(rising.expected_dice(1.0))
    with pytest.raises(SettingsError, match="finite scores and Dice of at least 20 images; found 19 and 19"):
        Calibration.learn("u_pp", scores[:19], dices[:19], "a" * 64)


@pytest.mark.parametrize("knots", [(), ((0.2, 0.9), (0.1, 0.8)), ((0.1, 0.8), (0.2, 0.9)), ((float("nan"), 0.8),)])
def test_curves_that_make_no_sense_are_refused(knots: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(SettingsError, match="knots must be finite, rise in score and fall in Dice"):
        calibration(*knots)
    with pytest.raises(SettingsError, match=r"Dice lies in \[0, 1\]"):
        calibration((0.1, 1.5))


def test_a_manifest_keeps_calibrations_and_one_without_has_the_hash_it_had(tmp_path: Path) -> None:
    plain = tiny_pool(tmp_path, 2)
    assert "calibration" not in (tmp_path / "manifest.json").read_text()
    first = replace(plain.members[0], calibration=calibration((0.2, 0.9), (0.4, 0.7)))
    mixed = replace(plain, members=(first, plain.members[1]))
    save_manifest(tmp_path, mixed)
    assert PoolManifest.load(tmp_path) == mixed
    assert mixed.sha256() != plain.sha256()
    fields = json.loads((tmp_path / "manifest.json").read_text())
    fields["members"][0]["calibration"]["slope"] = 2
    (tmp_path / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(PoolFolderError, match="calibration: has missing or unknown fields"):
        PoolManifest.load(tmp_path)


def test_the_choice_is_by_expected_dice_never_by_raw_scores_and_says_what_it_compared() -> None:
    dropout = entry("a", calibration((0.2, 0.9), (0.4, 0.7)))
    latent = entry("b", calibration((0.01, 0.85), (0.02, 0.6)), "prob-unet")
    raw = entry("c", None)
    scores = [
        CalibratedScore.of(latent, {"mcd_uncertainty": 0.02}, 100),  # by far the least raw score
        CalibratedScore.of(dropout, {"mcd_uncertainty": 0.3}, 100),
        CalibratedScore.of(raw, {"mcd_uncertainty": 0.001}, 100),
    ]
    found = select_calibrated([dropout, latent, raw], scores)
    assert found.chosen == "a"
    assert [score.expected_dice for score in found.scores] == pytest.approx([0.8, 0.6, None])
    assert found.scores[2].ineligible == "has no calibration: its score cannot be compared with those of others"
    assert found.how == (
        "expected Dice of 1 mcd-unet by mcd_uncertainty, learned on 60 images; "
        "1 prob-unet by mcd_uncertainty, learned on 60 images"
    )
    tie = select_calibrated([dropout, replace(dropout, id="0")], [scores[1], replace(scores[1], member_id="0")])
    assert tie.chosen == "0"


def test_a_score_of_another_number_of_trials_cannot_be_read() -> None:
    score = CalibratedScore.of(entry("a", calibration((0.2, 0.9))), {"mcd_uncertainty": 0.3}, 1000)
    assert score.expected_dice is None
    assert score.ineligible == "its calibration is of 100 trials, its score of 1000"


def test_nobody_is_chosen_where_nobody_is_eligible() -> None:
    one = entry("a", calibration((0.2, 0.9)))
    empty = CalibratedScore.of(one, {"mcd_uncertainty": None}, 100)
    failed = CalibratedScore.of(replace(one, id="b"), {}, failure="died")
    found = select_calibrated([one, replace(one, id="b")], [failed, empty])
    assert found.chosen is None
    assert found.reason == "no member is eligible: a its answer has no mcd_uncertainty: the mask is empty; b died"
    assert found.how == "nothing could be compared"
