"""Labelled slices for training, as `pool.preprocess` delivers real ones: 128 x 128 x 30 at 0.95 mm, in [0, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.errors import SettingsError
from pool.phantom.acquisition import kspace_window
from pool.phantom.grid import Grid
from pool.phantom.imaging import acquire, draw_receiver
from pool.phantom.motion import draw_motion, resample
from pool.phantom.presets import Preset
from pool.phantom.ranges import LEVELS, N_LEVELS, Draws, Range, generator_on
from pool.phantom.scene import Scene, make_scene
from pool.phantom.tissue_curves import (
    KINDS,
    STEP_S,
    TISSUE,
    ReadoutValues,
    concentrations,
    draw_circulation,
    draw_readout,
    sample_curves,
    tissue_signals,
)

IMAGE_PX, N_FRAMES, SPACING_MM = 128, 30, 0.95
"""Size, frames and pixel spacing of a prepared slice."""
FINE = Grid(144, 144, SPACING_MM)
"""Where tissues are drawn: the prepared slice and a margin."""
COARSE_PX = 96
"""The scanner's image of the same field of view, 1.425 mm a pixel, zero-filled where the scan is coarser."""
BATCH_SUBJECTS = 5
"""Hearts simulated together: small enough for the processor's cache, a choice of speed alone."""
BATCH_SUBJECTS_CUDA = 64
"""The same on a GPU."""


@dataclass(frozen=True, eq=False)
class LabelledSlices:
    """Training slices with their truth, on the device they were made on."""

    frames: Tensor
    """float32 `slice time=30 row=128 col=128`, each slice from 0 to 1."""
    labels: Tensor
    """Expert labels, uint8 `slice row col`: 0 background, 1 myocardium, 2 blood pool (LV and RV)."""
    anatomical_labels: Tensor
    """Compact wall and papillary muscles, and both cavities, uint8 `slice row col`."""
    mbf_ml_min_g: Tensor
    """True flow, 0 outside the anatomical myocardium, float32 `slice row col` [mL/min/g]."""
    reader_labels: Tensor
    """Labels of every reader, the first the same as `labels`, uint8 `reader slice row col`."""
    subject: Tensor
    """Number of the heart within the batch, int64 `slice`; a heart has three slices."""

    @property
    def level_names(self) -> tuple[str, ...]:
        """`base`, `mid` or `apex` of every slice."""
        return tuple(LEVELS[i % N_LEVELS] for i in range(len(self.labels)))


def make_labelled_slices(
    preset: Preset,
    n_slices: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    n_readers: int = 1,
) -> LabelledSlices:
    """Simulate labelled slices; slices 3i, 3i + 1 and 3i + 2 are base, mid and apex of one heart.

    The same preset, number and generator state give the same bytes on one machine.

    Args:
        preset: population and scanner.
        n_slices: how many, at least one.
        generator: source of all randomness; its state moves on.
        device: where to compute and leave the result.
        n_readers: experts who draw each heart; frames and first labels do not depend on it.

    Raises:
        SettingsError: no slices or no readers are asked for.
    """
    if n_readers < 1:
        raise SettingsError("number of readers", "must be at least 1", str(n_readers))
    if n_slices < 1:
        raise SettingsError("number of slices", "must be at least 1", str(n_slices))
    local = generator_on(device, generator)
    size = BATCH_SUBJECTS_CUDA if torch.device(device).type == "cuda" else BATCH_SUBJECTS
    n_subjects = -(-n_slices // N_LEVELS)
    parts = [_simulate(preset, Draws(local, min(size, n_subjects - i)), n_readers) for i in range(0, n_subjects, size)]
    joined = [torch.cat(pieces)[:n_slices] for pieces in zip(*parts)]
    subject = torch.arange(n_subjects, device=joined[0].device).repeat_interleave(N_LEVELS)[:n_slices]
    read = joined[1].transpose(0, 1).contiguous()
    return LabelledSlices(joined[0], read[0], joined[2], joined[3], read, subject)


@torch.no_grad()
def _simulate(preset: Preset, draws: Draws, n_readers: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One batch: frames, labels `slice reader row col`, anatomical labels, flow."""
    spread = draws.slice(preset.motion.centre_jitter_mm)
    limit = 0.25 * IMAGE_PX * SPACING_MM
    centre_x, centre_y = ((spread * draws.normal()).clamp(-limit, limit) for _ in range(2))
    scene = make_scene(
        draws, preset.anatomy, preset.surroundings, preset.flow, preset.reader, FINE, centre_x, centre_y, n_readers
    )
    times, signals, readout = slice_signals(preset, draws, scene)
    frames = _image(preset, draws, scene, signals, times, readout.acceleration, centre_x, centre_y)
    margin = (FINE.n_rows - IMAGE_PX) // 2
    inner = slice(margin, margin + IMAGE_PX)
    low, high = frames.amin((1, 2, 3), keepdim=True), frames.amax((1, 2, 3), keepdim=True)
    frames = (frames - low) / (high - low).clamp(min=1e-6)
    gamma = draws.subject(preset.sequence.signal_gamma)[:, None, None, None]
    if preset.sequence.signal_gamma.low < preset.sequence.signal_gamma.high:
        frames = frames.pow_(gamma)
    labels, truth, mbf = (
        m[..., inner, inner].contiguous()
        for m in (scene.reader_labels.transpose(0, 1), scene.anatomical_labels, scene.mbf_ml_min_g)
    )
    return frames, labels, truth, mbf


def slice_signals(preset: Preset, draws: Draws, scene: Scene) -> tuple[Tensor, Tensor, ReadoutValues]:
    """Frame times `slice frame` [s], tissue signals `slice tissue frame` over the LV's peak, sequence values."""
    circulation = draw_circulation(draws, preset.bolus, scene.flow.stress)
    fine = concentrations(draws, circulation, scene.flow)
    start = circulation.arrival_s - draws.subject(preset.bolus.start_before_arrival_s) + 0.3 * draws.normal()
    steps = torch.linspace(0, 1, N_FRAMES, device=draws.device)
    times = start[:, None] + draws.subject(preset.bolus.span_s)[:, None] * steps
    values = draw_readout(draws, preset.sequence)
    signals = tissue_signals(sample_curves(fine, STEP_S, times), values)
    if preset.sequence.tissue_spread > 0:
        signals = spread_brightness(draws, preset.sequence.tissue_spread, signals)
    return times, signals / signals[:, TISSUE["lv_blood"]].amax(1)[:, None, None].clamp(min=1e-6), values


def spread_brightness(draws: Draws, spread: float, signals: Tensor) -> Tensor:
    """Change every tissue's baseline and enhancement by random factors, to randomise beyond physics.

    All levels of flow get the same factor, so that the order of flows stays.
    """
    n_static = TISSUE["flow"]
    wide = torch.exp(spread * draws.normal(2, n_static + 1))
    tame = torch.tensor([0.2 if kind == "blood" else 1.0 for kind in KINDS[:n_static]] + [0.35], device=draws.device)
    factors = wide**tame
    index = torch.arange(len(KINDS), device=draws.device).clamp(max=n_static)
    baseline = signals.amin(2, keepdim=True)
    return baseline * factors[:, 0, index, None] + (signals - baseline) * factors[:, 1, index, None]


def _image(
    preset: Preset,
    draws: Draws,
    scene: Scene,
    signals: Tensor,
    times: Tensor,
    acceleration: Tensor,
    centre_x: Tensor,
    centre_y: Tensor,
) -> Tensor:
    """Frames `slice time row col` before scaling: scan, residual motion, upsampling."""
    sequence = preset.sequence
    coarse = Grid(COARSE_PX, COARSE_PX, FINE.spacing_mm * FINE.n_rows / COARSE_PX)
    # phase lines are fewer than readout samples for the same field of view: coarser along one of the two axes
    finer = coarse.spacing_mm / draws.subject(sequence.spacing_mm)
    coarser = finer * draws.subject(Range(0.6, 1.0))
    vertical = draws.subject_happens(0.5)
    taper = draws.subject(Range(0.1, 0.8))
    row_window = kspace_window(COARSE_PX, torch.where(vertical, coarser, finer), taper)
    col_window = kspace_window(COARSE_PX, torch.where(vertical, finer, coarser), taper)
    receiver = draw_receiver(draws, sequence, acceleration, scene.chest_direction, row_window, col_window)
    motion = draw_motion(draws, preset.motion, times)
    frames = acquire(draws, sequence, receiver, scene, signals, motion.gain, FINE, coarse, centre_x, centre_y)
    margin = (FINE.n_rows - IMAGE_PX) // 2
    out_mm = (torch.arange(IMAGE_PX, device=draws.device) + margin) * FINE.spacing_mm
    rows = _moved(out_mm, motion.shift_row_mm, motion.scale, FINE, centre_y) / coarse.spacing_mm
    cols = _moved(out_mm, motion.shift_col_mm, motion.scale, FINE, centre_x) / coarse.spacing_mm
    return resample(frames, rows, cols).clamp_(min=0)


def _moved(out_mm: Tensor, shift_mm: Tensor, scale: Tensor, grid: Grid, centre_mm: Tensor) -> Tensor:
    """Where the pixels of moved frames come from: `slice frame pixel` [mm from the first fine pixel]."""
    heart = (centre_mm + (grid.n_rows - 1) / 2 * grid.spacing_mm)[:, None, None]
    return heart + (out_mm - heart - shift_mm[:, :, None]) / scale[:, :, None]
