"""A whole study: three slices of one heart as a scanner would write them, with the truth beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pool.errors import SettingsError
from pool.phantom.acquisition import kspace_window
from pool.phantom.grid import Grid
from pool.phantom.imaging import Receiver, acquire, draw_receiver
from pool.phantom.motion import draw_motion, resample
from pool.phantom.presets import Preset
from pool.phantom.ranges import LEVELS, Draws, Range, require_seed
from pool.phantom.scan_plan import frame_times, stack_geometry
from pool.phantom.scene import Scene, make_scene
from pool.phantom.study_types import PhantomStudy, ScanValues
from pool.phantom.tissue_curves import (
    ARRIVAL_S,
    STEP_S,
    TISSUE,
    ReadoutValues,
    concentrations,
    draw_circulation,
    draw_readout,
    sample_curves,
    tissue_signals,
)
from pool.series import LEAST_FRAMES, PerfusionSeries, SliceGeometry

MOST_FRAMES = 400
"""More frames than any first-pass series has."""
PREBOLUS_DOSE = 0.1
"""Dose of the prebolus over that of the main bolus."""
PREBOLUS_FRAMES = 40
"""Frames of a prebolus at most."""
BRIGHTEST = 3600.0
"""Largest pixel value of a study, within the scanner's 12 bits."""


@dataclass(frozen=True, eq=False)
class _Plan:
    """What main bolus and prebolus share."""

    preset: Preset
    scene: Scene
    fine: Grid
    native: Grid
    centre_mm: tuple[Tensor, Tensor]
    receiver: Receiver
    readout: ReadoutValues
    curves: Tensor
    """Concentrations on the fine time grid, `slice tissue time` [mmol/L]."""


@torch.no_grad()
def make_study(preset: Preset, seed: int, n_frames: int = 60, dual_bolus: bool = False) -> PhantomStudy:
    """Simulate base, mid and apical slices of one heart with the whole chest in view.

    The same preset, seed and number of frames give the same bytes on one machine, with or without a prebolus.

    Args:
        preset: population and scanner.
        seed: at least 0.
        n_frames: frames a slice.
        dual_bolus: also simulate a prebolus of a tenth of the dose, whose blood signal is not saturated
            (Christian et al., Radiology 2004;232:677).

    Raises:
        SettingsError: a seed below 0 or above 2^63 - 1, or a number of frames that no perfusion series has.
    """
    if not LEAST_FRAMES <= n_frames <= MOST_FRAMES:
        raise SettingsError("number of frames", f"must lie within {LEAST_FRAMES} and {MOST_FRAMES}", str(n_frames))
    require_seed(seed)
    draws = Draws(torch.Generator().manual_seed(seed), 1)
    sequence = preset.sequence
    readout = draw_readout(draws, sequence)
    n_rows, n_cols = _even(readout.n_lines), _even(draws.subject(sequence.matrix_readout))
    native = Grid(n_rows, n_cols, round(float(draws.subject(sequence.spacing_mm)[0]), 4))
    fine = Grid(2 * n_rows, 2 * n_cols, native.spacing_mm / 2)
    centre_x, centre_y = (
        draws.subject(Range(*bounds)) + 1.5 * draws.normal() for bounds in ((-50.0, -10.0), (-30.0, 5.0))
    )
    scene = make_scene(draws, preset.anatomy, preset.surroundings, preset.flow, preset.reader, fine, centre_x, centre_y)
    times, bpm = frame_times(draws, preset.bolus, n_frames)
    lead_s = float(draws.subject(Range(3.0, 8.0))[0])
    circulation = draw_circulation(draws, preset.bolus, scene.flow.stress)
    curves = concentrations(draws, circulation, scene.flow, float(times.max()) + ARRIVAL_S + 10.0)
    taper = draws.subject(Range(0.05, 0.5))
    row_window = kspace_window(n_rows, draws.subject(Range(0.75, 1.0)), taper)
    col_window = kspace_window(n_cols, torch.ones_like(taper), taper)
    receiver = draw_receiver(draws, sequence, readout.acceleration, scene.chest_direction, row_window, col_window)
    plan = _Plan(preset, scene, fine, native, (centre_x, centre_y), receiver, readout, curves)
    offset = (fine.spacing_mm - native.spacing_mm) / 2  # native pixel 0 has the position of fine pixel 0
    geometry = stack_geometry(draws, native, centre_x - offset, centre_y - offset)
    brightness = BRIGHTEST * float(draws.subject(Range(0.3, 1.0))[0])

    frames, scale = _scan(draws, plan, times, lead_s, 1.0, brightness)
    prebolus = None
    if dual_bolus:
        early, _ = frame_times(draws, preset.bolus, min(n_frames, PREBOLUS_FRAMES))
        dilute, _ = _scan(draws, plan, early, lead_s, PREBOLUS_DOSE, None, scale)
        prebolus = _study(plan, dilute, early, lead_s, PREBOLUS_DOSE, geometry, bpm, seed, "prebolus", None)
    return _study(plan, frames, times, lead_s, 1.0, geometry, bpm, seed, "main", prebolus)


def _scan(
    draws: Draws,
    plan: _Plan,
    times: Tensor,
    lead_s: float,
    dose: float,
    brightness: float | None,
    scale: float = 1.0,
) -> tuple[Tensor, float]:
    """Frames in whole numbers, and the scale from LV peaks to pixel values: given, or found for a brightest pixel."""
    n_rows, n_cols = plan.native.n_rows, plan.native.n_cols
    at_grid = times + (ARRIVAL_S - lead_s)
    signals = tissue_signals(sample_curves(dose * plan.curves, STEP_S, at_grid), plan.readout)
    peak = tissue_signals(plan.curves, plan.readout)[:, TISSUE["lv_blood"]].amax()
    motion = draw_motion(draws, plan.preset.motion, times)
    frames = acquire(
        draws,
        plan.preset.sequence,
        plan.receiver,
        plan.scene,
        signals / peak,
        motion.gain,
        plan.fine,
        plan.native,
        *plan.centre_mm,
    )
    rows = _moved(n_rows, motion.shift_row_mm / plan.native.spacing_mm)
    cols = _moved(n_cols, motion.shift_col_mm / plan.native.spacing_mm)
    frames = resample(frames, rows, cols).clamp(min=0)
    if brightness is not None:
        scale = brightness / float(torch.quantile(frames.flatten()[::7], 0.9999))
    return (frames * scale).round().clamp(max=4095), scale


def _study(
    plan: _Plan,
    frames: Tensor,
    times: Tensor,
    lead_s: float,
    dose: float,
    geometry: tuple[SliceGeometry, ...],
    bpm: float,
    seed: int,
    injection: str,
    prebolus: PhantomStudy | None,
) -> PhantomStudy:
    scene, readout, sequence = plan.scene, plan.readout, plan.preset.sequence
    series = PerfusionSeries(
        frames=frames.numpy().astype(np.float32),
        times_s=np.round(times.double().numpy(), 3),
        pixel_spacing_mm=(plan.native.spacing_mm, plan.native.spacing_mm),
        slice_names=LEVELS,
        geometry=geometry,
    )
    labels, truth, mbf = (
        m[:, ::2, ::2].numpy().copy() for m in (scene.labels, scene.anatomical_labels, scene.mbf_ml_min_g)
    )
    return PhantomStudy(
        series=series,
        labels=labels,
        anatomical_labels=truth,
        mbf_ml_min_g=mbf,
        insertion_px=_insertion_px(plan),
        curve_times_s=np.arange(plan.curves.shape[2]) * STEP_S - (ARRIVAL_S - lead_s),
        blood_mm=dose * plan.curves[:, TISSUE["lv_blood"]].numpy(),
        stress=bool(scene.flow.stress[0]),
        preset_name=plan.preset.name,
        seed=seed,
        injection=injection,
        prebolus=prebolus,
        scan=ScanValues(
            scanner=plan.preset.scanner,
            field_t=sequence.field_t,
            readout="bssfp" if bool(readout.is_bssfp[0]) else "flash",
            ti_ms=round(float(readout.ti_s[0]) * 1e3, 1),
            flip_deg=round(float(torch.rad2deg(readout.flip_rad[0])), 1),
            tr_ms=round(float(readout.tr_s[0]) * 1e3, 2),
            te_ms=round(float(readout.te_s[0]) * 1e3, 2),
            n_pulses_before=int(readout.n_pulses_before[0]),
            r1_per_mm_s=float(readout.r1_per_mm_s[0]),
            thickness_mm=sequence.thickness_mm,
            acceleration=round(float(readout.acceleration[0]), 1),
            heart_rate_bpm=round(bpm, 1),
        ),
    )


def _insertion_px(plan: _Plan) -> np.ndarray:
    """Insertion points as native rows and columns: native pixel 0 lies at fine pixel 0."""
    fine, native = plan.fine, plan.native
    corner = [(n - 1) / 2 * fine.spacing_mm for n in (fine.n_cols, fine.n_rows)]
    centre = torch.stack(plan.centre_mm, 1) + torch.tensor(corner)
    x_y = (plan.scene.insertion_mm + centre[:, None]) / native.spacing_mm
    return x_y.flip(2).numpy().astype(np.float64)


def _even(value: Tensor) -> int:
    """A drawn matrix size as an even number."""
    return 2 * round(float(value[0]) / 2)


def _moved(n: int, shift_px: Tensor) -> Tensor:
    """Where the pixels of shifted frames come from: `slice frame pixel`."""
    return torch.arange(n)[None, None] - shift_px[:, :, None]
