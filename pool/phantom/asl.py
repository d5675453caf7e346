"""Arterial spin labelling studies: control and labelled bSSFP pairs of one mid short-axis slice, with true flow.

As in Yalcinkaya et al. 2023 after Do et al.: FAIR at 3 T, the image one heart beat after the inversion, six pairs,
96 x 96. Labelled blood arrives by Buxton's general kinetic model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pool.errors import SettingsError
from pool.phantom.acquisition import coil_field, complex_noise, kspace_window, reduce_by_kspace
from pool.phantom.grid import Grid
from pool.phantom.kinetics import TISSUE_DENSITY_G_PER_ML
from pool.phantom.motion import draw_motion, resample
from pool.phantom.presets import Preset
from pool.phantom.ranges import Draws, Range, require_seed
from pool.phantom.relaxation import TISSUES
from pool.phantom.scan_plan import stack_geometry
from pool.phantom.scene import make_scene
from pool.phantom.tissue_curves import KINDS, TISSUE, flow_levels
from pool.series import SliceGeometry

ASL_PX = 96
"""Rows and columns."""
MID = 1
"""Index of the mid slice of a heart."""
FLIP_DEG, TR_MS, TE_MS, THICKNESS_MM = 50.0, 3.2, 1.5, 10.0
"""Readout of the second paper."""
PARTITION_ML_PER_G = 0.95
"""Partition coefficient of water between myocardium and blood [mL/g]."""
FIELD_T = 3.0


def buxton_difference(
    ti_s: Tensor,
    mbf_ml_min_g: Tensor,
    t1_tissue_s: Tensor,
    t1_blood_s: Tensor,
    arrival_s: Tensor,
    width_s: Tensor,
    efficiency: Tensor,
) -> Tensor:
    """Control minus labelled longitudinal magnetisation over blood's M0 in pulsed labelling.

    `dM(t) = 2 a f (t - D) exp(-t / T1b) q` for D < t < D + w, then with w in place of t - D, where
    `q = exp(k t) (exp(-k D) - exp(-k t)) / (k (t - D))` (after the end of the bolus `exp(-k (D + w))` and w),
    `k = 1 / T1b - 1 / T1'`, `1 / T1' = 1 / T1 + F / lambda` (Buxton et al., Magn Reson Med 1998;40:383, eq. 3).

    Args:
        ti_s: inversion to image [s].
        mbf_ml_min_g: flow F; f is F per mL of tissue and second.
        t1_tissue_s, t1_blood_s: longitudinal relaxation times [s].
        arrival_s, width_s: arrival D and duration w of the labelled blood [s].
        efficiency: inversion efficiency a, 0 to 1. All broadcast.
    """
    flow_per_s = TISSUE_DENSITY_G_PER_ML * mbf_ml_min_g / 60
    apparent = 1 / t1_tissue_s + mbf_ml_min_g / 60 / PARTITION_ML_PER_G
    k = 1 / t1_blood_s - apparent
    k = torch.where(k.abs() < 1e-6, torch.full_like(k, 1e-6), k)
    end = torch.minimum(ti_s, arrival_s + width_s)
    # integral of exp(-t'/T1b) exp(-(t - t') / T1') over the bolus that has arrived
    integral = torch.exp(-ti_s * apparent) * (torch.exp(-k * arrival_s) - torch.exp(-k * end)) / k
    return torch.where(ti_s > arrival_s, 2 * efficiency * flow_per_s * integral, torch.zeros_like(integral))


@dataclass(frozen=True)
class AslSettings:
    """What an ASL study is made of.

    Raises:
        SettingsError: a value outside what is possible.
    """

    n_pairs: int = 6
    """Pairs of control and labelled images."""
    noise: float = 0.004
    """Thermal noise, standard deviation over blood's M0 signal."""
    physiological_noise: float = 0.003
    """Fluctuation of the myocardium from image to image, standard deviation over blood's M0 signal; the default gives
    about 0.2 mL/min/g from pair to pair (Zun et al., Magn Reson Med 2009;62:975)."""
    interval_variation: float = 0.02
    """Relative standard deviation of the RR interval, and so of TI."""
    efficiency: float = 0.95
    """Inversion efficiency."""
    stress: bool | None = None
    """Rest or stress; None draws it from the preset."""

    def __post_init__(self) -> None:
        if not 1 <= self.n_pairs <= 64:
            raise SettingsError("ASL pairs", "must lie within 1 and 64", str(self.n_pairs))
        for subject, value in (("ASL noise", self.noise), ("physiological noise", self.physiological_noise)):
            if not 0 <= value <= 0.5:
                raise SettingsError(subject, "must lie within 0 and 0.5", f"{value:g}")
        if not 0 < self.efficiency <= 1:
            raise SettingsError("inversion efficiency", "must lie above 0 and up to 1", f"{self.efficiency:g}")
        if not 0 <= self.interval_variation <= 0.3:
            raise SettingsError("interval variation", "must lie within 0 and 0.3", f"{self.interval_variation:g}")


@dataclass(frozen=True, eq=False)
class AslStudy:
    """One ASL study and its truth. Images are real parts after phase correction: myocardium crosses zero near 1 s."""

    control: np.ndarray
    """Control images (slab-selective inversion), float32 `pair row col`."""
    labelled: np.ndarray
    """Labelled images (non-selective inversion), float32 `pair row col`."""
    baseline: np.ndarray
    """Image without inversion, float32 `row col`."""
    ti_s: np.ndarray
    """Inversion to image, control and labelled, float64 `pair 2` [s]."""
    pixel_spacing_mm: tuple[float, float]
    """Between rows, between columns [mm]."""
    labels: np.ndarray
    """Expert labels, uint8 `row col`."""
    anatomical_labels: np.ndarray
    """Labels by tissue, uint8 `row col`."""
    mbf_ml_min_g: np.ndarray
    """True flow, 0 outside the anatomical myocardium, float32 `row col` [mL/min/g]."""
    stress: bool
    """Whether it is a stress study."""
    preset_name: str
    """Preset it was drawn from."""
    seed: int
    """Seed it was drawn with."""
    geometry: SliceGeometry
    """Where the slice lies in the patient."""


@torch.no_grad()
def make_asl_study(preset: Preset, seed: int, settings: AslSettings | None = None) -> AslStudy:
    """Simulate an ASL study: anatomy, flow, coils and motion of a preset, readout and size of the second paper.

    The same preset, seed and settings give the same bytes on one machine.

    Args:
        preset: population; its sequence only lends the coils' fall-off.
        seed: at least 0.
        settings: pairs, noise and labelling.

    Raises:
        SettingsError: a seed below 0 or above 2^63 - 1.
    """
    settings = settings or AslSettings()
    require_seed(seed)
    flow = preset.flow if settings.stress is None else replace(preset.flow, stress_share=float(settings.stress))
    draws = Draws(torch.Generator().manual_seed(seed), 1)
    native = Grid(ASL_PX, ASL_PX, round(float(draws.subject(Range(2.1, 2.7))[0]), 3))
    fine = Grid(2 * ASL_PX, 2 * ASL_PX, native.spacing_mm / 2)
    centre_x, centre_y = (8.0 * draws.normal() for _ in range(2))
    scene = make_scene(draws, preset.anatomy, preset.surroundings, flow, preset.reader, fine, centre_x, centre_y)
    n_images = 2 * settings.n_pairs + 1
    stress = bool(scene.flow.stress[0])
    interval_s = 60 / float(draws.subject(Range(70.0, 95.0) if stress else Range(52.0, 75.0))[0])
    ti_s = interval_s * (1 + settings.interval_variation * draws.normal(n_images).clamp(-2.5, 2.5))
    weights = _tissue_weights(draws, settings, ti_s, flow_levels(scene.flow.normal_ml_min_g))

    taper, full = torch.full_like(centre_x, 0.2), torch.ones_like(centre_x)
    window = kspace_window(ASL_PX, full, taper)
    maps = reduce_by_kspace(scene.shares, ASL_PX, ASL_PX, window, window)
    offset = (fine.spacing_mm - native.spacing_mm) / 2
    x_mm, y_mm = native.coordinates_mm(centre_x - offset, centre_y - offset)
    bias = coil_field(draws, preset.sequence.coil_falloff, x_mm, y_mm, scene.chest_direction)
    frames = torch.bmm(weights.transpose(1, 2), (maps * bias[:, None]).flatten(2)).unflatten(2, maps.shape[2:])
    frames = frames + settings.noise * complex_noise(draws, n_images, window, window).real
    # every pair is a breath-hold of 12 s of its own
    times = 20.0 * torch.arange(n_images)[None].expand(draws.n_slices, -1)
    motion = draw_motion(draws, preset.motion, times)
    pixels = torch.arange(ASL_PX)[None, None]
    frames = resample(
        frames,
        pixels - motion.shift_row_mm[:, :, None] / native.spacing_mm,
        pixels - motion.shift_col_mm[:, :, None] / native.spacing_mm,
    )[MID]
    frames = 1000.0 * frames.numpy().astype(np.float32)
    n = settings.n_pairs
    return AslStudy(
        control=frames[:n],
        labelled=frames[n : 2 * n],
        baseline=frames[2 * n],
        ti_s=ti_s[MID, : 2 * n].double().numpy().reshape(2, n).T.copy(),
        pixel_spacing_mm=(native.spacing_mm, native.spacing_mm),
        labels=scene.labels[MID, ::2, ::2].numpy().copy(),
        anatomical_labels=scene.anatomical_labels[MID, ::2, ::2].numpy().copy(),
        mbf_ml_min_g=scene.mbf_ml_min_g[MID, ::2, ::2].numpy().copy(),
        stress=stress,
        preset_name=preset.name,
        seed=seed,
        geometry=_geometry(seed, native, centre_x - offset, centre_y - offset),
    )


def _geometry(seed: int, native: Grid, centre_x_mm: Tensor, centre_y_mm: Tensor) -> SliceGeometry:
    """Drawn by a generator of its own: it changes no pixel."""
    draws = Draws(torch.Generator().manual_seed(seed ^ 1), 1)
    return stack_geometry(draws, native, centre_x_mm, centre_y_mm)[MID]


def _tissue_weights(draws: Draws, settings: AslSettings, ti_s: Tensor, levels_ml_min_g: Tensor) -> Tensor:
    """Signal of every tissue in every image over blood's M0: controls, labelled, baseline: `slice tissue image`.

    The readout starts at the centre of k-space, so the signal is the longitudinal magnetisation times sin(a / 2)
    and the echo's decay. Blood in the cavities of control images is mostly fresh, from outside the inverted slab.
    """
    n = settings.n_pairs
    tissues = [TISSUES[FIELD_T][kind] for kind in KINDS]
    t1 = torch.tensor([t.t1_s for t in tissues], device=draws.device)[None, :, None]
    density = torch.tensor([t.proton_density for t in tissues], device=draws.device)[None, :, None]
    decay = torch.tensor([np.exp(-TE_MS * 1e-3 / min(t.t2_s, 50 * t.t2_star_s)) for t in tissues], device=draws.device)
    ti = ti_s[:, None]
    inverted = density * (1 - 2 * settings.efficiency * torch.exp(-ti / t1))
    full = density.expand_as(inverted)
    weights = torch.cat([inverted[..., : 2 * n], full[..., 2 * n :]], 2).clone()
    fresh = draws.subject(Range(0.8, 1.0))[:, None]
    for name in ("lv_blood", "rv_blood", "lung_vessel"):
        i = TISSUE[name]
        weights[:, i, :n] = fresh * 1.0 + (1 - fresh) * weights[:, i, :n]
    first = TISSUE["flow"]
    muscle, blood = (torch.tensor(TISSUES[FIELD_T][kind].t1_s, device=draws.device) for kind in ("myocardium", "blood"))
    arrival = draws.subject(Range(0.02, 0.12))[:, None, None]
    difference = buxton_difference(
        ti_s[:, None, :n],
        levels_ml_min_g[..., None],
        muscle,
        blood,
        arrival,
        torch.full_like(arrival, 5.0),
        torch.tensor(settings.efficiency, device=draws.device),
    )
    weights[:, first:, :n] += difference
    weights[:, first:] += settings.physiological_noise * draws.normal(1, ti_s.shape[1])
    return weights * decay[None, :, None].float() * float(np.sin(np.deg2rad(FLIP_DEG / 2)))
