"""Insertion points and AHA segments of drawn hearts and of phantoms."""

from __future__ import annotations

import numpy as np
import pytest

from pool.errors import SettingsError, StudyError
from pool.perfusion.regions import SliceRegions
from pool.perfusion.segments import (
    SEGMENT_NAMES,
    anterior_is_clockwise,
    find_insertion,
    levels_of,
    orient,
    segment_map,
)
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.series import SliceGeometry

SPACING = (1.5, 1.5)


def drawn(level: str = "mid", rv_deg: float | None = 180.0, name: str = "mid") -> SliceRegions:
    """A ring of radii 12 to 20 px with an RV of 100 degrees about a direction, clockwise from the image's right."""
    rows, cols = np.indices((96, 96)) - 48
    radius, angle = np.hypot(rows, cols), np.degrees(np.arctan2(rows, cols))
    wall, blood = (radius >= 12) & (radius < 20), radius < 12
    if rv_deg is not None:
        turn = (angle - rv_deg + 180) % 360 - 180
        blood = blood | ((radius >= 21) & (radius < 32) & (np.abs(turn) < 50))
    return SliceRegions.of(name, level, wall, blood, SPACING)


def at(regions: SliceRegions, orientation_deg: float, angle_deg: float, clockwise: bool = True) -> int:
    turned = orient([regions], SPACING, clockwise, orientation_deg)[0]
    found = segment_map(regions, turned, SPACING, clockwise)
    angle = np.deg2rad(angle_deg)
    return int(found[round(48 + 16 * np.sin(angle)), round(48 + 16 * np.cos(angle))])


def test_rv_on_the_left_puts_the_anterior_wall_on_top() -> None:
    regions = drawn()
    turned = orient([regions], SPACING, clockwise=True)[0]
    assert turned.source == "rv"
    assert turned.septum_deg == pytest.approx(180, abs=2)
    anterior, inferior = turned.insertion_px or ((0, 0), (0, 0))
    assert anterior[0] < 48 < inferior[0]  # above and below the centre
    assert np.hypot(anterior[0] - 48, anterior[1] - 48) == pytest.approx(20, abs=1.2)
    # straight up lies the anterior segment, then over the septum to the inferior wall and back over the lateral one
    names = [SEGMENT_NAMES[at(regions, 180.0, angle)] for angle in (270, 210, 150, 90, 30, 330)]
    walls = ("anterior", "anteroseptal", "inferoseptal", "inferior", "inferolateral", "anterolateral")
    assert names == [f"mid {wall}" for wall in walls]


def test_apex_has_four_segments_and_base_starts_at_one() -> None:
    names = [SEGMENT_NAMES[at(drawn("apex"), 180.0, angle)] for angle in (270, 180, 90, 0)]
    assert names == ["apical anterior", "apical septal", "apical inferior", "apical lateral"]
    assert at(drawn("base"), 180.0, 270) == 1


def test_seen_from_the_base_the_order_is_mirrored() -> None:
    assert SEGMENT_NAMES[at(drawn(), 0.0, 270, clockwise=False)] == "mid anterior"
    assert SEGMENT_NAMES[at(drawn(), 0.0, 330, clockwise=False)] == "mid anteroseptal"
    from_apex = SliceGeometry((0, 0, 0), (0.6, 0.75, -0.28, 0.5, -0.1, -0.85))
    assert anterior_is_clockwise(None)
    flipped = SliceGeometry((0, 0, 0), tuple(-v if i < 3 else v for i, v in enumerate(from_apex.orientation)))
    assert anterior_is_clockwise(from_apex) != anterior_is_clockwise(flipped)


def test_segments_cover_the_wall_and_nothing_else_in_equal_parts() -> None:
    regions = drawn()
    found = segment_map(regions, orient([regions], SPACING, True)[0], SPACING, True)
    np.testing.assert_array_equal(found > 0, regions.myocardium)
    counts = np.bincount(found[found > 0])[7:]
    assert len(counts) == 6
    assert counts.min() > 0.9 * counts.max()


def test_a_slice_without_rv_borrows_the_direction_and_says_so() -> None:
    turned = orient([drawn(name="mid"), drawn("apex", None, "apex")], SPACING, True)
    assert turned[1].source == "slice mid"
    assert turned[1].insertion_px is None
    assert turned[1].septum_deg == turned[0].septum_deg


def test_without_rv_anywhere_an_angle_is_needed_and_then_decides() -> None:
    bare = drawn(rv_deg=None)
    assert find_insertion(bare, SPACING, True) is None
    with pytest.raises(StudyError, match="slice mid: needs the RV in some slice, or an angle.*--septum-deg"):
        orient([bare], SPACING, True)
    assert orient([bare], SPACING, True, 200.0)[0].source == "given"
    assert orient([drawn()], SPACING, True, {"mid": -30.0})[0].septum_deg == 330.0
    with pytest.raises(SettingsError, match="septum angle: must be of one of the slices mid; found 'apex'"):
        orient([bare], SPACING, True, {"apex": 1.0})
    with pytest.raises(SettingsError, match="septum angle: must be a number of degrees"):
        orient([bare], SPACING, True, float("nan"))


def test_a_narrow_rv_makes_the_points_doubtful() -> None:
    rows, cols = np.indices((96, 96)) - 48
    radius, angle = np.hypot(rows, cols), np.degrees(np.arctan2(rows, cols))
    speck = (radius >= 21) & (radius < 30) & (np.abs(angle) > 165)
    regions = SliceRegions.of("mid", "mid", (radius >= 12) & (radius < 20), (radius < 12) | speck, SPACING)
    assert orient([regions], SPACING, True)[0].source == "rv-doubtful"


def test_levels_come_from_names_or_the_order() -> None:
    assert levels_of(("base", "mid", "apex")) == ("base", "mid", "apex")
    assert levels_of(("slice-1",)) == ("mid",)
    assert levels_of(tuple(f"slice-{i}" for i in range(6))) == ("base", "base", "mid", "mid", "apex", "apex")


def test_insertion_points_of_phantoms_are_found_from_their_labels() -> None:
    middles = []
    for seed in (1003, 1005):
        study = make_study(get_preset("exD-1"), seed, 8)
        spacing = study.series.pixel_spacing_mm or SPACING
        clockwise = anterior_is_clockwise((study.series.geometry or ())[0])
        for labels, truth in zip(study.labels, study.insertion_px):
            regions = SliceRegions.of("mid", "mid", labels == 1, labels == 2, spacing)
            turned = find_insertion(regions, spacing, clockwise)
            if turned is None or np.isnan(truth).any():
                continue
            away = truth - np.array(regions.centre_px)
            true_angle = np.degrees(np.angle(np.sum([np.exp(1j * np.arctan2(r, c)) for r, c in away])))
            middles.append(abs((turned.septum_deg - true_angle + 180) % 360 - 180))
    assert len(middles) >= 5
    assert np.median(middles) < 4
    assert max(middles) < 20
