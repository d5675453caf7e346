from __future__ import annotations

import re

import numpy as np
import pytest

from pool.errors import SettingsError
from pool.evaluation.failures import NO_OUTLINE
from pool.evaluation.true_heart import TrueHeart
from tests.pool.evaluation.hearts import ANGLE_DEG, COLS, RADIUS, ROWS, between, criteria, heart_labels

LABELS = heart_labels()
RING = LABELS == 1


@pytest.mark.parametrize(
    ("angle_deg", "mid", "apex"),
    [
        (175, "inferoseptal", "septal"),  # the RV lies on the image's left, at 180 degrees
        (185, "anteroseptal", "septal"),
        (270, "anterior", "anterior"),  # up in the image
        (330, "anterolateral", "lateral"),
        (30, "inferolateral", "lateral"),
        (90, "inferior", "inferior"),  # down
        (150, "inferoseptal", "septal"),
        (134, "inferoseptal", "inferior"),
    ],
)
def test_segments_go_clockwise_from_the_septum(angle_deg: float, mid: str, apex: str) -> None:
    assert TrueHeart.from_labels(LABELS, "mid").segment_at(angle_deg) == mid
    assert TrueHeart.from_labels(LABELS, "apex").segment_at(angle_deg) == apex


def test_the_heart_is_read_off_the_labels() -> None:
    heart = TrueHeart.from_labels(LABELS, "base")
    assert heart.centre_px == (64.0, 64.0)
    assert np.array_equal(heart.left_pool, RADIUS < 15)
    assert np.array_equal(heart.right_pool, (LABELS == 2) & (RADIUS > 15))
    assert heart.septum_deg == pytest.approx(180, abs=1)
    turned = TrueHeart.from_labels(np.rot90(LABELS, -1), "base")  # the RV above: the septum faces up
    assert turned.septum_deg == pytest.approx(270, abs=1)
    assert turned.segment_at(0) == "anterior"


def test_labels_without_blood_pool_or_rv_still_show_the_cavity() -> None:
    for labels in (np.where(LABELS == 2, 0, LABELS), heart_labels(with_rv=False)):
        heart = TrueHeart.from_labels(labels, "base")
        assert np.array_equal(heart.left_pool, RADIUS < 15)
        assert not heart.right_pool.any()
        assert heart.septum_deg == 180.0


def test_the_cavity_of_an_open_ring_is_the_blood_nearest_to_its_centre() -> None:
    labels = np.where(between(350, 370) & (LABELS == 1), 0, LABELS)
    heart = TrueHeart.from_labels(labels, "base")
    assert np.array_equal(heart.left_pool, RADIUS < 15)
    assert heart.right_pool.any()


def test_labels_without_myocardium_are_refused() -> None:
    with pytest.raises(SettingsError, match="labels: must show some myocardium; found none"):
        TrueHeart.from_labels(np.zeros((8, 8), np.uint8), "mid")


def test_the_truth_and_small_differences_do_not_fail() -> None:
    judge = criteria(LABELS)
    assert judge.reasons(RING) == ()
    assert judge.reasons((RADIUS >= 13) & (RADIUS < 25)) == ()  # 2 mm thicker on both sides
    assert judge.reasons((RADIUS >= 19) & (RADIUS < 21)) == ()  # thin, but whole
    assert judge.reasons(np.roll(RING, 2, axis=0)) == ()


def test_an_empty_mask_fails() -> None:
    assert criteria(LABELS).reasons(np.zeros_like(RING)) == (NO_OUTLINE,)


@pytest.mark.parametrize(
    ("first", "last", "where"),
    [
        (80, 100, "inferior"),
        (50, 70, "inferolateral and inferior"),
        (350, 370, "anterolateral and inferolateral"),  # across the direction where counting begins
        (185, 190, "anteroseptal"),
    ],
)
def test_a_gap_is_named_by_width_and_segment(first: float, last: float, where: str) -> None:
    (reason,) = criteria(LABELS).reasons(RING & ~between(first, last))
    width, found = re.fullmatch(r"gap of (\d+) degrees in (.*)", reason).groups()  # type: ignore[union-attr]
    assert found == where
    assert abs(int(width) - (last - first)) <= 4  # pixels at both ends


def test_a_gap_in_an_apical_slice_lies_in_one_of_four_segments() -> None:
    (reason,) = criteria(LABELS, "apex").reasons(RING & ~between(60, 120))
    assert reason.endswith("degrees in inferior")
    assert criteria(LABELS, "base").reasons(RING & ~between(170, 190))[0].endswith("in inferoseptal and anteroseptal")


def test_a_gap_of_one_pixel_counts_but_a_ring_that_touches_by_corners_is_whole() -> None:
    one_pixel = RING & ~((ROWS == 64) & (COLS > 64))
    assert criteria(LABELS).reasons(one_pixel)[0].startswith("gap of")
    thin = (np.abs(ROWS - 64) + np.abs(COLS - 64)) == 19  # a square on its tip: all pixels touch by corners alone
    assert criteria(LABELS).reasons(thin) == ()


def test_a_stray_piece_does_not_close_a_gap() -> None:
    stray = (RADIUS > 35) & (RADIUS < 45) & between(60, 120)
    reasons = criteria(LABELS).reasons((RING & ~between(80, 100)) | stray)
    assert len(reasons) == 1
    assert reasons[0].endswith("in inferior")


def test_myocardium_in_the_middle_of_the_cavity_does_not_close_a_gap() -> None:
    reasons = criteria(LABELS).reasons((RING & ~between(80, 100)) | (RADIUS < 7))
    assert len(reasons) == 2
    assert reasons[1].startswith("gap of")


def test_blood_plainly_inside_the_outline_fails() -> None:
    judge = criteria(LABELS)
    lump = RING | ((np.hypot(ROWS - 52, COLS - 64) < 6) & (RADIUS < 15))
    (reason,) = judge.reasons(lump)
    area, deepest = re.fullmatch(
        r"(\d+) mm2 of LV blood pool outlined, deeper than 3 mm inside it, up to (\d+\.\d) mm", reason
    ).groups()  # type: ignore[union-attr]
    deep = lump & (RADIUS < 15)  # the border pixel of the pool is 1 mm deep by centre distance
    assert int(area) == pytest.approx(np.count_nonzero(deep & (RADIUS < 12)), rel=0.3)
    assert float(deepest) == pytest.approx(15 - RADIUS[deep].min(), abs=1.0)
    (whole,) = judge.reasons(RADIUS < 23)
    assert "LV blood pool" in whole


def test_rv_blood_fails_only_where_the_labels_show_it() -> None:
    bulge = RING | ((RADIUS < 31) & (RADIUS > 20) & between(150, 210))
    (reason,) = criteria(LABELS).reasons(bulge)
    assert "mm2 of RV blood pool" in reason
    assert criteria(heart_labels(with_rv=False)).reasons(bulge) == ()


def test_a_small_cavity_that_is_mostly_covered_fails() -> None:
    labels = heart_labels(inner_px=3.5, outer_px=9)
    judge = criteria(labels, "apex")
    (reason,) = judge.reasons(RADIUS < 9)
    assert reason == "100 % of the LV blood pool outlined"
    assert judge.reasons((RADIUS >= 2.5) & (RADIUS < 9)) == ()


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(SettingsError, match="failed outline: mask and truth must have the same shape"):
        criteria(LABELS).reasons(np.ones((4, 4), bool))


def test_half_a_ring_says_how_much_is_missing() -> None:
    (reason,) = criteria(LABELS).reasons(RING & (ANGLE_DEG < 180))
    width = int(re.match(r"gap of (\d+)", reason)[1])  # type: ignore[index]
    assert width == pytest.approx(180, abs=6)
    assert reason.endswith("in anteroseptal and anterior and anterolateral")
