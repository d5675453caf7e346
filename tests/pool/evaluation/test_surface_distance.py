from __future__ import annotations

import math

import numpy as np
import pytest

from pool.errors import SettingsError
from pool.evaluation.surface import hd95_mm


def pixels(*where: tuple[int, int], shape: tuple[int, int] = (12, 24)) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    for row, col in where:
        mask[row, col] = True
    return mask


def brute_force(a: np.ndarray, b: np.ndarray, spacing_mm: tuple[float, float]) -> float:
    """All pairs of border pixels, in plain loops and a sorted list."""

    def border(mask: np.ndarray) -> np.ndarray:
        found = []
        for row, col in np.argwhere(mask):
            around = [(row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)]
            if any(not (0 <= r < mask.shape[0] and 0 <= c < mask.shape[1] and mask[r, c]) for r, c in around):
                found.append((row * spacing_mm[0], col * spacing_mm[1]))
        return np.array(found)

    def directed(x: np.ndarray, y: np.ndarray) -> float:
        nearest = sorted(min(math.dist(p, q) for q in y) for p in x)
        at = 0.95 * (len(nearest) - 1)
        low = math.floor(at)
        high = min(low + 1, len(nearest) - 1)
        return nearest[low] + (at - low) * (nearest[high] - nearest[low])

    return max(directed(border(a), border(b)), directed(border(b), border(a)))


def test_two_pixels_are_as_far_apart_as_their_centres() -> None:
    assert hd95_mm(pixels((2, 3)), pixels((5, 7)), (2.0, 0.5)) == pytest.approx(math.hypot(6.0, 2.0))


def test_the_percentile_of_a_line_that_is_one_pixel_longer() -> None:
    long = pixels(*((4, col) for col in range(20)))
    short = pixels(*((4, col) for col in range(19)))
    # 20 distances: nineteen times 0, once 1; the 95th percentile lies 0.05 of the way between the last two
    assert hd95_mm(long, short, (1.0, 1.0)) == pytest.approx(0.05)
    assert hd95_mm(short, long, (1.0, 1.0)) == pytest.approx(0.05)


@pytest.mark.parametrize("spacing_mm", [(0.95, 0.95), (1.0, 1.7)])
def test_shifted_squares_and_rings_as_by_brute_force(spacing_mm: tuple[float, float]) -> None:
    rows, cols = np.indices((40, 40))
    square = (rows >= 5) & (rows < 15) & (cols >= 8) & (cols < 20)
    ring = (np.hypot(rows - 20, cols - 20) < 14) & (np.hypot(rows - 20, cols - 20) > 9)
    at_the_edge = (rows < 9) & (cols > 30)
    for a, b in (
        (square, np.roll(square, 4, axis=1)),
        (ring, np.roll(ring, 3, axis=0)),
        (ring, square),
        (at_the_edge, square),
    ):
        assert hd95_mm(a, b, spacing_mm) == pytest.approx(brute_force(a, b, spacing_mm), abs=1e-9)
        assert hd95_mm(b, a, spacing_mm) == hd95_mm(a, b, spacing_mm)


def test_a_missing_outline_is_infinitely_far_and_two_agree() -> None:
    nothing, something = pixels(), pixels((3, 3))
    assert hd95_mm(nothing, something, (1.0, 1.0)) == math.inf
    assert hd95_mm(something, nothing, (1.0, 1.0)) == math.inf
    assert hd95_mm(nothing, nothing, (1.0, 1.0)) == 0.0
    assert hd95_mm(something, something, (1.0, 1.0)) == 0.0


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"HD95: mask and truth must have the same shape; found \(2, 2\) and"):
        hd95_mm(np.ones((2, 2), bool), np.ones((3, 2), bool), (1.0, 1.0))
