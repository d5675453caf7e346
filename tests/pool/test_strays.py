from __future__ import annotations

import numpy as np

from pool.strays import without_strays


def ring(size: int = 64, inner: float = 8, outer: float = 13) -> np.ndarray:
    rows, cols = np.mgrid[0:size, 0:size]
    distance = np.hypot(rows - 32, cols - 32)
    return (distance >= inner) & (distance < outer)


def test_specks_outside_the_heart_go_and_the_ring_stays_as_it_is() -> None:
    mask = ring()
    with_specks = mask.copy()
    with_specks[2:4, 50:60] = True  # 20 pixels beside 330
    with_specks[60, 3] = True
    before = with_specks.copy()
    assert np.array_equal(without_strays(with_specks), mask)
    assert np.array_equal(with_specks, before)
    assert without_strays(mask) is mask


def test_pieces_within_the_heart_and_large_ones_stay() -> None:
    mask = ring()
    mask[32, 32] = True  # a papillary muscle in the cavity
    mask[2:8, 50:60] = True  # 60 pixels: a mistake to be seen, not tidied away
    assert np.array_equal(without_strays(mask), mask)


def test_arcs_of_a_broken_ring_stay() -> None:
    mask = ring()
    mask[30:34, :], mask[:, 31:34] = False, False  # four arcs of a quarter each
    assert np.array_equal(without_strays(mask), mask)
    mask = ring()
    mask[:, 43:45] = False  # a sliver on the right is cut off; the rest of the ring bulges towards it
    assert np.array_equal(without_strays(mask)[:, :43], mask[:, :43])


def test_masks_without_an_inside() -> None:
    line = np.zeros((16, 16), dtype=bool)
    line[3, 2:14], line[9, 9] = True, True
    assert np.array_equal(without_strays(line), line)
    assert not without_strays(np.zeros((4, 4), dtype=bool)).any()
