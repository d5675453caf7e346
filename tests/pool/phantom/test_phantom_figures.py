"""Curves of regions, and figures that show what they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pool.errors import SettingsError
from pool.figures.phantom import beside, draw_curves, draw_slice, preset_gallery
from pool.phantom.presets import get_preset
from pool.phantom.region_curves import region_curves
from pool.phantom.slices import make_labelled_slices


def ring() -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.indices((40, 40))
    radius = np.hypot(rows - 20, cols - 26)
    labels = np.where(radius < 10, 1, 0).astype(np.uint8)
    labels[radius < 6] = 2
    labels[(np.hypot(rows - 20, cols - 8) < 6) & (radius > 11)] = 2
    frames = np.zeros((3, 40, 40), dtype=np.float32)
    frames[:, labels == 1] = 0.2
    frames[1][(labels == 2) & (cols < 15)] = 0.9
    frames[2][(labels == 2) & (cols > 15)] = 0.6
    return frames, labels


def test_left_and_right_are_told_apart() -> None:
    curves = region_curves(*ring())
    assert curves.myocardium.tolist() == pytest.approx([0.2, 0.2, 0.2], abs=1e-5)
    assert curves.left is not None
    assert curves.right is not None
    assert curves.left.tolist() == pytest.approx([0.0, 0.0, 0.6], abs=1e-5)
    assert curves.right.tolist() == pytest.approx([0.0, 0.9, 0.0], abs=1e-5)


def test_labels_must_fit_and_show_myocardium() -> None:
    frames, labels = ring()
    with pytest.raises(SettingsError, match="must have the frames' size and some myocardium"):
        region_curves(frames, np.zeros_like(labels))


def test_figures_draw_what_they_get(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    frames, labels = ring()
    axes = Figure().subplots(1, 2)
    assert draw_slice(frames[1], labels, axes[0]) is axes[0]
    assert len(draw_curves(region_curves(frames, labels), axes[1]).lines) == 3
    made = make_labelled_slices(get_preset("exD-1"), 3, torch.Generator().manual_seed(1))
    preset_gallery({"exD-1": made}).savefig(tmp_path / "gallery.png")
    beside([frames[[0, 1, 2] * 10]], list(made.frames.numpy())).savefig(tmp_path / "beside.png")
    assert (tmp_path / "gallery.png").stat().st_size > 10_000
