"""A whole study: three slices of one heart as a scanner would write them, with the truth beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pool.errors import SettingsError
from pool.phantom.acquisition import kspace_window
from pool.phantom.grid import Grid
from pool.phantom.imaging import acquire, draw_receiver
from pool.phantom.motion import draw_motion, resample
from pool.phantom.presets import Preset
from pool.phantom.ranges import LEVELS, N_LEVELS, Draws, Range
from pool.phantom.scene import make_scene
from pool.phantom.tissue_curves import (
    ARRIVAL_S,
    STEP_S,
    TISSUE,
    concentrations,
    draw_circulation,
    draw_readout,
    sample_curves,
    tissue_signals,
)
from pool.series import LEAST_FRAMES, PerfusionSeries, SliceGeometry

MOST_FRAMES = 400
"""More frames than any first-pass series has."""
BRIGHTEST = 3600.0
"""Largest pixel value of a study, within the scanner's 12 bits."""


@dataclass(frozen=True)
class ScanValues:
    """What the scanner would write about itself."""

    scanner: str
    """Manufacturer and model."""
    field_t: float
    """Field strength [T]."""
    readout: str
    """`flash` or `bssfp`."""
    ti_ms: float
    """Saturation time [ms]."""
    flip_deg: float
    """Flip angle [degrees]."""
    tr_ms: float
    """Repetition time [ms]."""
    te_ms: float
    """Echo time [ms]."""
    thickness_mm: float
    """Slice thickness [mm]."""
    acceleration: float
    """Parallel-imaging factor."""
    heart_rate_bpm: float
    """Mean heart rate [1/min]."""


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """A simulated study and everything that is true about it."""

    series: PerfusionSeries
    """Frames, times and geometry, base to apex, on the scanner's grid; whole numbers within 12 bits."""
    labels: np.ndarray
    """Expert labels on the native grid, uint8 `slice row col`."""
    anatomical_labels: np.ndarray
    """Labels by tissue, uint8 `slice row col`."""
    mbf_ml_min_g: np.ndarray
    """True flow, 0 outside the anatomical myocardium, float32 `slice row col` [mL/min/g]."""
    curve_times_s: np.ndarray
    """Fine time grid of the true concentrations, on the clock of `series.times_s`: `time` [s]."""
    blood_mm: np.ndarray
    """True whole-blood concentration in the LV, `slice time` [mmol/L]."""
    stress: bool
    """Whether it is a stress study."""
    preset_name: str
    """Preset it was drawn from."""
    seed: int
    """Seed it was drawn with."""
    scan: ScanValues
    """Sequence values."""

    def __post_init__(self) -> None:
        wanted = (self.series.n_slices, *self.series.frames.shape[2:])
        for name in ("labels", "anatomical_labels", "mbf_ml_min_g"):
            if getattr(self, name).shape != wanted:
                raise SettingsError("phantom study", f"{name} must have shape {wanted}", str(getattr(self, name).shape))


@torch.no_grad()
def make_study(preset: Preset, seed: int, n_frames: int = 60) -> PhantomStudy:
    """Simulate base, mid and apical slices of one heart with the whole chest in view.

    The same preset, seed and number of frames give the same bytes on one machine.

    Args:
        preset: population and scanner.
        seed: at least 0.
        n_frames: frames a slice.

    Raises:
        SettingsError: a negative seed, or a number of frames that no perfusion series has.
    """
    if not LEAST_FRAMES <= n_frames <= MOST_FRAMES:
        raise SettingsError("number of frames", f"must lie within {LEAST_FRAMES} and {MOST_FRAMES}", str(n_frames))
    if seed < 0:
        raise SettingsError("seed", "must not be negative", str(seed))
    draws = Draws(torch.Generator().manual_seed(seed), 1)
    sequence = preset.sequence
    n_rows, n_cols = (_even(draws.subject(r)) for r in (sequence.matrix_phase, sequence.matrix_readout))
    native = Grid(n_rows, n_cols, round(float(draws.subject(sequence.spacing_mm)[0]), 4))
    fine = Grid(2 * n_rows, 2 * n_cols, native.spacing_mm / 2)
    centre_x, centre_y = (
        draws.subject(Range(*bounds)) + 1.5 * draws.normal() for bounds in ((-50.0, -10.0), (-30.0, 5.0))
    )
    scene = make_scene(draws, preset.anatomy, preset.surroundings, preset.flow, preset.reader, fine, centre_x, centre_y)
    times, bpm = frame_times(draws, preset, n_frames)
    lead_s = float(draws.subject(Range(3.0, 8.0))[0])
    on_grid = times + (ARRIVAL_S - lead_s)
    curves = concentrations(
        draws, draw_circulation(draws, preset.bolus, scene.flow.stress), scene.flow, float(on_grid.max()) + 10.0
    )
    values = draw_readout(draws, sequence)
    signals = tissue_signals(sample_curves(curves, STEP_S, on_grid), values)
    signals = signals / signals[:, TISSUE["lv_blood"]].amax()

    taper = draws.subject(Range(0.05, 0.5))
    row_window = kspace_window(n_rows, draws.subject(Range(0.75, 1.0)), taper)
    col_window = kspace_window(n_cols, torch.ones_like(taper), taper)
    receiver = draw_receiver(draws, sequence, scene.chest_direction, row_window, col_window)
    motion = draw_motion(draws, preset.motion, times)
    frames = acquire(draws, sequence, receiver, scene, signals, motion.gain, fine, native, centre_x, centre_y)
    rows = _moved(n_rows, motion.shift_row_mm / native.spacing_mm)
    cols = _moved(n_cols, motion.shift_col_mm / native.spacing_mm)
    frames = resample(frames, rows, cols).clamp(min=0)
    brightest = float(torch.quantile(frames.flatten()[::7], 0.9999))
    frames = (frames * (BRIGHTEST / brightest * float(draws.subject(Range(0.3, 1.0))[0]))).round().clamp(max=4095)

    spacing = (native.spacing_mm, native.spacing_mm)
    offset = (fine.spacing_mm - native.spacing_mm) / 2  # native pixel 0 has the position of fine pixel 0
    series = PerfusionSeries(
        frames=frames.numpy().astype(np.float32),
        times_s=times.double().numpy(),
        pixel_spacing_mm=spacing,
        slice_names=LEVELS,
        geometry=_geometry(draws, native, centre_x - offset, centre_y - offset),
    )
    return PhantomStudy(
        series=series,
        labels=scene.labels[:, ::2, ::2].numpy().copy(),
        anatomical_labels=scene.anatomical_labels[:, ::2, ::2].numpy().copy(),
        mbf_ml_min_g=scene.mbf_ml_min_g[:, ::2, ::2].numpy().copy(),
        curve_times_s=np.arange(curves.shape[2]) * STEP_S - (ARRIVAL_S - lead_s),
        blood_mm=curves[:, TISSUE["lv_blood"]].numpy().copy(),
        stress=bool(scene.flow.stress[0]),
        preset_name=preset.name,
        seed=seed,
        scan=ScanValues(
            scanner=preset.scanner,
            field_t=sequence.field_t,
            readout="bssfp" if bool(values.is_bssfp[0]) else "flash",
            ti_ms=round(float(values.ti_s[0]) * 1e3, 1),
            flip_deg=round(float(torch.rad2deg(values.flip_rad[0])), 1),
            tr_ms=round(float(values.tr_s[0]) * 1e3, 2),
            te_ms=round(float(values.te_s[0]) * 1e3, 2),
            thickness_mm=sequence.thickness_mm,
            acceleration=round(float(receiver.acceleration[0]), 1),
            heart_rate_bpm=round(bpm, 1),
        ),
    )


def frame_times(draws: Draws, preset: Preset, n_frames: int) -> tuple[Tensor, float]:
    """Acquisition times `slice frame` [s], first frame of the study at 0, and the mean heart rate [1/min].

    All slices are taken in every heart beat, one after the other; a missed trigger leaves a beat out.
    """
    bolus = preset.bolus
    bpm = float(draws.subject(bolus.heart_rate_bpm)[0])
    variation = float(draws.subject(bolus.rate_variation)[0])
    beats = torch.randn(n_frames, generator=draws.generator).clamp(-2.5, 2.5)
    missed = torch.rand(n_frames, generator=draws.generator) < bolus.missed_trigger
    intervals = (60.0 / bpm) * (1 + variation * beats) * torch.where(missed, 2.0, 1.0)
    starts = torch.cat([torch.zeros(1), intervals.cumsum(0)[:-1]])
    within = min(0.9 * 60.0 / bpm / N_LEVELS, 0.28) * torch.arange(N_LEVELS)
    milliseconds = ((starts[None] + within[:, None]).double() * 1e3).round()
    return (milliseconds / 1e3).float(), bpm


def _even(value: Tensor) -> int:
    """A drawn matrix size as an even number."""
    return 2 * round(float(value[0]) / 2)


def _moved(n: int, shift_px: Tensor) -> Tensor:
    """Where the pixels of shifted frames come from: `slice frame pixel`."""
    return torch.arange(n)[None, None] - shift_px[:, :, None]


def _geometry(draws: Draws, grid: Grid, centre_x_mm: Tensor, centre_y_mm: Tensor) -> tuple[SliceGeometry, ...]:
    """Oblique short-axis slices, base to apex along the LV's long axis (to the left, forwards and down).

    Image right is towards the patient's left and back, image down towards the feet.
    """
    towards_apex = np.array([0.65, -0.55, -0.52]) + 0.08 * draws.normal(3)[0].double().numpy()
    towards_apex /= np.linalg.norm(towards_apex)
    down = np.array([0.0, 0.0, -1.0])
    down -= towards_apex * (down @ towards_apex)
    down /= np.linalg.norm(down)
    right = np.cross(down, -towards_apex)
    distance_mm = float(draws.subject(Range(16.0, 24.0))[0])
    base = np.array([40.0, -30.0, 20.0]) + 10.0 * draws.normal(3)[0].double().numpy()
    slices = []
    for i in range(draws.n_slices):
        col_mm = float(centre_x_mm[i]) + (grid.n_cols - 1) / 2 * grid.spacing_mm
        row_mm = float(centre_y_mm[i]) + (grid.n_rows - 1) / 2 * grid.spacing_mm
        # one scan plane stack: the LV's small drift from slice to slice is the heart's, not the table's
        if i == 0:
            corner = base - right * col_mm - down * row_mm
        position = np.round(corner + towards_apex * distance_mm * i, 4)
        slices.append(SliceGeometry(tuple(position.tolist()), tuple(np.concatenate([right, down]).tolist())))
    return tuple(slices)
