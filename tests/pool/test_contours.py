import numpy as np
import pytest

from pool.contours import outline
from pool.preprocess import WayBack

IDENTITY = WayBack((40, 40), 40, (0.0, 0.0), (1.0, 1.0))


def ring(gap: bool = False) -> np.ndarray:
    rows, cols = np.indices((40, 40))
    distance = np.hypot(rows - 20, cols - 18)
    mask = (distance >= 6) & (distance < 11)
    if gap:
        mask[18:23, 18:] = False
    return mask


def area(polygon: np.ndarray) -> float:
    (r0, c0), (r1, c1) = polygon.T, np.roll(polygon, -1, axis=0).T
    return abs(float((r0 * c1 - r1 * c0).sum())) / 2


def test_a_ring_has_two_contours() -> None:
    contours = outline(ring().astype(np.float32), IDENTITY)
    assert contours is not None
    assert contours.endo_px is not None
    assert contours.closed_ring
    assert area(contours.epi_px) == pytest.approx(np.pi * 11**2, rel=0.04)
    assert area(contours.endo_px) == pytest.approx(np.pi * 6**2, rel=0.08)
    assert contours.endo_px.mean(axis=0) == pytest.approx((20, 18), abs=0.3)


def test_a_gap_is_not_a_closed_ring() -> None:
    contours = outline(ring(gap=True).astype(np.float32), IDENTITY)
    assert contours is not None
    assert contours.endo_px is None
    assert not contours.closed_ring


def test_a_stray_piece_is_counted_and_not_outlined() -> None:
    mask = ring()
    mask[2:4, 2:4] = True
    contours = outline(mask.astype(np.float32), IDENTITY)
    assert contours is not None
    assert (contours.n_pieces, contours.closed_ring) == (2, True)
    assert contours.epi_px.min() > 5


def test_a_single_pixel_at_the_border_and_an_empty_mask() -> None:
    mask = np.zeros((40, 40), bool)
    assert outline(mask.astype(np.float32), IDENTITY) is None
    mask[0, 39] = True
    contours = outline(mask.astype(np.float32), WayBack((20, 20), 40, (-0.25, -0.25), (0.5, 0.5)))
    assert contours is not None
    expected = [(-0.5, 19.25), (-0.25, 19.0), (-0.25, 19.5), (0.0, 19.25)]
    assert sorted(map(tuple, contours.epi_px.tolist())) == expected


def test_contours_are_finer_than_pixels() -> None:
    """A wall whose probability falls linearly: 0.5 is crossed at radii 6.3 and 11.4, whatever the grid."""
    rows, cols = np.indices((40, 40))
    distance = np.hypot(rows - 20, cols - 18)
    probability = np.clip(0.5 + np.minimum(distance - 6.3, 11.4 - distance) / 2, 0, 1).astype(np.float32)
    contours = outline(probability, IDENTITY)
    assert contours is not None
    assert contours.endo_px is not None
    for points, radius in ((contours.epi_px, 11.4), (contours.endo_px, 6.3)):
        assert np.hypot(*(points - (20, 18)).T) == pytest.approx(radius, abs=0.05)
