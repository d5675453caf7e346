"""All members' answers as one picture: whose tile lies where, what it holds, and what is said of whom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pool.analysis import SliceAnalysis, StudyAnalysis, conclude
from pool.answers import MemberAnswer, MemberFailure, RacedOut
from pool.figures.members import (
    LABEL_PX,
    draw_member_outlines,
    draw_member_uncertainties,
    members_figure,
    members_png,
    shown_window,
)
from pool.sweep import MemberMaps
from tests.serve.fakes import IMAGE_PX, SETTINGS, manifest_of, maps_of, prepared_slices, series_of


def raced_out(maps: MemberMaps) -> RacedOut:
    return RacedOut(maps.probability, maps.u_tot, maps.n_myo, 41)


def analysed(answers: dict[str, MemberAnswer], n_members: int) -> StudyAnalysis:
    return conclude(series_of(1), prepared_slices(1), [answers], manifest_of(n_members), SETTINGS)


@pytest.fixture
def item() -> SliceAnalysis:
    """m1 is believed, m0 left a race, m2 is whole, m3 has an empty mask, m4 failed."""
    empty = replace(maps_of("m3"), probability=np.zeros((3, IMAGE_PX, IMAGE_PX), dtype=np.float32), n_myo=0)
    answers: dict[str, MemberAnswer] = {
        "m0": raced_out(maps_of("m0")),
        "m1": maps_of("m1"),
        "m2": maps_of("m2"),
        "m3": empty,
        "m4": MemberFailure("the shard died"),
    }
    return analysed(answers, 5).slices[0]


def axes() -> Axes:
    return Figure().subplots()


def labels(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts]


def tile(ax: Axes, number: int, side: int) -> np.ndarray:
    """A tile's pixels; masked where it is empty."""
    left = number * (side + 4)
    image = ax.images[0].get_array()
    assert image is not None
    return image[LABEL_PX : LABEL_PX + side, left : left + side]


def test_members_stand_in_order_of_their_certainty_with_what_is_known_of_each(item: SliceAnalysis) -> None:
    assert item.selection.chosen == "m1"
    u_pp = {score.member_id: score.u_pp for score in item.selection.scores}
    estimate = item.selection.score_of("m0").u_pp_estimate
    expected = [f"m1  {u_pp['m1']:.4f}", f"m2  {u_pp['m2']:.4f}", f"m0  ~{estimate:.4f}", "m3  empty", "m4  failed"]
    for draw in (draw_member_outlines, draw_member_uncertainties):
        assert labels(draw(item, axes())) == expected


def test_a_tile_of_the_u_maps_is_the_members_own_and_empty_where_it_has_none(item: SliceAnalysis) -> None:
    side = IMAGE_PX
    ax = draw_member_uncertainties(item, axes())
    for number, member_id in ((0, "m1"), (1, "m2")):
        assert np.array_equal(tile(ax, number, side), maps_of(member_id).uncertainty)
    assert np.ma.getmaskarray(tile(ax, 2, side)).all()  # m0 left the race
    assert np.ma.getmaskarray(tile(ax, 4, side)).all()  # m4 failed
    assert ax.images[0].get_clim() == (0.0, 0.5)


def test_only_the_believed_members_tile_has_a_frame_and_every_mask_an_outline(item: SliceAnalysis) -> None:
    ax = draw_member_outlines(item, axes())
    (frame,) = ax.patches
    assert frame.get_bbox().x0 == -1  # around tile 0, m1's
    others, believed = ax.collections
    assert [len(lines.get_paths()) for lines in (others, believed)] == [4, 2]  # rings: two lines each of m2 and m0; m1


def test_the_window_holds_what_members_outline_and_ignores_what_few_do() -> None:
    prepared = prepared_slices(1)[0]
    large = replace(prepared, way_back=replace(prepared.way_back, image_px=128, native_shape=(128, 128)))
    ring, stray = np.zeros((3, 128, 128), np.float32), np.zeros((3, 128, 128), np.float32)
    ring[1, 60:100, 30:70] = 0.9
    stray[1, 0:3, 120:124] = 0.9
    maps = {f"m{i}": replace(maps_of("m1", 128), probability=ring) for i in range(19)}
    agreed = replace(analysed({"m0": maps_of("m0")}, 1).slices[0], prepared=large, member_maps=maps)
    assert shown_window(agreed) == (slice(50, 110), slice(20, 80))
    with_stray = replace(agreed, member_maps={**maps, "m19": replace(maps_of("m1", 128), probability=stray)})
    assert shown_window(with_stray) == shown_window(agreed)
    assert shown_window(replace(agreed, member_maps={})) == (slice(0, 128), slice(0, 128))


def test_the_picture_is_the_same_every_time_and_drawn_even_if_nobody_answered() -> None:
    analysis = analysed({f"m{i}": maps_of(f"m{i}") for i in range(12)}, 12)
    assert members_png(analysis) == members_png(analysis)
    caption = members_figure(analysis).get_supxlabel()
    assert caption.endswith("believed by min-u_pp. Research use only, not for diagnosis.")
    nobody = analysed({}, 2)
    left, right = members_figure(nobody).axes
    assert labels(left) == labels(right) == ["m0  failed", "m1  failed"]
    assert members_png(nobody).startswith(b"\x89PNG")
