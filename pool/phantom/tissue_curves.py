"""Signal of every tissue at every frame: from the bolus to concentrations to SR signal."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pool.phantom.defects import FlowState
from pool.phantom.dynamics import Bolus
from pool.phantom.kinetics import (
    Circulation,
    blood_curves,
    convolve,
    gamma_transit,
    sample_curves,
    tissue_concentration,
)
from pool.phantom.ranges import Draws, Range
from pool.phantom.relaxation import AGENTS, TISSUES
from pool.phantom.sequence import Sequence
from pool.phantom.signal import sr_bssfp_signal, sr_flash_signal

STATIC_TISSUES = ("lv_blood", "rv_blood", "lung_vessel", "lung", "fat", "liver", "muscle", "other", "infarct")
"""Tissues beside healthy and ischaemic myocardium, in the order of the shares."""
N_FLOWS = 6
"""Levels of flow between which the signal is linear."""
FLOW_RANGE = (0.02, 1.8)
"""Lowest and highest level over the heart's normal flow."""
FLOW_WARP = 1.4
"""Levels lie at low + (high - low) (i / (n - 1))^warp: denser where flow is low."""
TISSUE = {name: i for i, name in enumerate(STATIC_TISSUES)} | {"flow": len(STATIC_TISSUES)}
"""Index of every tissue; `flow` is the first of the N_FLOWS levels."""
N_TISSUES = len(STATIC_TISSUES) + N_FLOWS
KINDS = ("blood", "blood", "blood", "lung", "fat", "liver", "muscle", "muscle", "myocardium") + (
    "myocardium",
) * N_FLOWS
"""Relaxation of each tissue."""
STEP_S = 0.25
"""Step of the fine time grid [s]."""
GRID_S = 128.0
"""Length of the fine time grid [s]."""
ARRIVAL_S = 12.0
"""When the bolus reaches the right ventricle on the fine time grid [s]."""
R2_STAR_OVER_R2 = 2.0
"""Effective over true transverse relaxivity at the concentrations of a bolus."""
SCAR_FLOW = 0.15
"""Flow of a scar over the heart's normal flow."""
LUNG_BLOOD = 0.25
"""Blood in lung parenchyma, relative to its water."""


@dataclass(frozen=True, eq=False)
class ReadoutValues:
    """Drawn sequence values, tensors `slice`."""

    is_bssfp: Tensor
    """Balanced readout, else spoiled: bool."""
    ti_s: Tensor
    """Saturation time [s]."""
    flip_rad: Tensor
    """Flip angle [rad]."""
    tr_s: Tensor
    """Repetition time [s]."""
    te_s: Tensor
    """Echo time [s]."""
    n_lines: Tensor
    """Phase-encoding lines of the image, before acceleration."""
    acceleration: Tensor
    """Parallel-imaging factor."""
    n_pulses_before: Tensor
    """Readout pulses before the centre of k-space."""
    r1_per_mm_s: Tensor
    """Longitudinal relaxivity."""
    r2_per_mm_s: Tensor
    """Transverse relaxivity."""
    unsaturated: Tensor
    """Share of the magnetisation that survives the saturation pulse."""
    field_t: float
    """Field strength [T]."""


def draw_readout(draws: Draws, sequence: Sequence) -> ReadoutValues:
    """Draw readout, agent and timing for hearts."""
    ti_s = draws.subject(sequence.ti_ms) * 1e-3
    tr_s = draws.subject(sequence.tr_ms) * 1e-3
    n_lines, acceleration = draws.subject(sequence.matrix_phase), draws.subject(sequence.acceleration)
    agents = [AGENTS[sequence.field_t][name] for name in sequence.agents]
    which = (draws.subject(Range(0, 1)) * len(agents)).long().clamp(max=len(agents) - 1)
    balanced = (draws.subject(Range(0, 1)) * len(sequence.readouts)).long().clamp(max=len(sequence.readouts) - 1)
    is_bssfp = torch.tensor([r == "bssfp" for r in sequence.readouts], device=draws.device)[balanced]
    return ReadoutValues(
        is_bssfp=is_bssfp,
        ti_s=ti_s,
        flip_rad=torch.deg2rad(draws.subject(sequence.flip_deg)),
        tr_s=tr_s,
        te_s=draws.subject(sequence.te_ms) * 1e-3,
        n_lines=n_lines,
        acceleration=acceleration,
        n_pulses_before=torch.minimum(n_lines / acceleration / 2, 0.9 * ti_s / tr_s).floor(),
        r1_per_mm_s=torch.tensor([a.r1_per_mm_s for a in agents], device=draws.device)[which],
        r2_per_mm_s=torch.tensor([a.r2_per_mm_s for a in agents], device=draws.device)[which],
        unsaturated=draws.subject(sequence.imperfect_saturation),
        field_t=sequence.field_t,
    )


def draw_circulation(draws: Draws, bolus: Bolus, stress: Tensor) -> Circulation:
    """Draw the bolus's way; under stress the heart pumps more and transits are shorter."""
    output_ml_s = draws.subject(bolus.cardiac_output_l_min) * 1000 / 60 * torch.where(stress, 1.25, 0.9)
    faster = torch.where(stress, 0.8, 1.1)
    dose_mmol = draws.subject(bolus.dose_mmol_kg) * draws.subject(bolus.weight_kg)
    return Circulation(
        area_mm_s=dose_mmol / output_ml_s * 1000,
        arrival_s=torch.full_like(faster, ARRIVAL_S),
        infusion_s=draws.subject(bolus.infusion_s),
        venous_mean_s=draws.subject(bolus.venous_mean_s) * faster,
        venous_shape=draws.subject(Range(1.8, 4.0)),
        lung_delay_s=draws.subject(bolus.lung_delay_s) * faster,
        lung_mean_s=draws.subject(bolus.lung_mean_s) * faster,
        lung_shape=draws.subject(Range(1.8, 4.0)),
        return_delay_s=draws.subject(Range(2.0, 5.0)) * faster,
        return_mean_s=draws.subject(Range(5.0, 12.0)) * faster,
        return_fraction=draws.subject(bolus.return_fraction),
    )


def flow_levels(normal_ml_min_g: Tensor) -> Tensor:
    """Flow of each level: `slice flow` [mL/min/g]."""
    low, high = FLOW_RANGE
    steps = torch.linspace(0, 1, N_FLOWS, device=normal_ml_min_g.device) ** FLOW_WARP
    return normal_ml_min_g[:, None] * (low + (high - low) * steps)


def concentrations(draws: Draws, circulation: Circulation, flow: FlowState, grid_s: float = GRID_S) -> Tensor:
    """Contrast agent in every tissue on a fine grid of length `grid_s`: `slice tissue time` [mmol/L]."""
    times = torch.arange(int(grid_s / STEP_S), device=draws.device) * STEP_S
    right, lung_vessel, left = blood_curves(circulation, times)
    delayed = sample_curves(left[:, None], STEP_S, times[None] - flow.delay_s[:, None])[:, 0]
    volume, sharpness = flow.distribution_volume[:, None], flow.sharpness[:, None]
    levels = flow_levels(flow.normal_ml_min_g)
    healthy = tissue_concentration(delayed, times, levels, volume.expand_as(levels), sharpness.expand_as(levels))
    scar_flow = SCAR_FLOW * flow.normal_ml_min_g[:, None]
    scar = tissue_concentration(delayed, times, scar_flow, (1.6 * volume).clamp(max=0.9), torch.ones_like(sharpness))
    slow = gamma_transit(
        times, draws.subject(Range(2, 6)), draws.subject(Range(10, 25)), torch.full_like(flow.delay_s, 1.5)
    )
    organ = convolve(left, slow, STEP_S)
    shares = {
        "lv_blood": left,
        "rv_blood": right,
        "lung_vessel": lung_vessel,
        "lung": LUNG_BLOOD * lung_vessel,
        "fat": torch.zeros_like(left),
        "liver": organ * draws.subject(Range(0.15, 0.4))[:, None],
        "muscle": organ * draws.subject(Range(0.03, 0.12))[:, None],
        "other": organ * draws.subject(Range(0.0, 0.3))[:, None],
        "infarct": scar[:, 0],
    }
    return torch.cat([torch.stack([shares[name] for name in STATIC_TISSUES], 1), healthy], 1)


def _readout(values: ReadoutValues) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return values.ti_s, values.flip_rad, values.tr_s, values.te_s, values.n_pulses_before


def tissue_signals(concentration_mm: Tensor, values: ReadoutValues) -> Tensor:
    """SR signal of every tissue over blood's M0, `slice tissue time`, from its concentration [mmol/L]."""
    tissues = [TISSUES[values.field_t][kind] for kind in KINDS]
    device = concentration_mm.device

    def column(attribute: str) -> Tensor:
        return torch.tensor([getattr(t, attribute) for t in tissues], device=device)[None, :, None]

    def per_slice(value: Tensor) -> Tensor:
        return value[:, None, None]

    t1 = 1 / (1 / column("t1_s") + per_slice(values.r1_per_mm_s) * concentration_mm)
    t2 = 1 / (1 / column("t2_s") + per_slice(values.r2_per_mm_s) * concentration_mm)
    t2_star = 1 / (1 / column("t2_star_s") + R2_STAR_OVER_R2 * per_slice(values.r2_per_mm_s) * concentration_mm)
    arguments = [per_slice(v) for v in (*_readout(values), values.unsaturated)]
    spoiled = sr_flash_signal(t1, t2_star, *arguments)
    balanced = sr_bssfp_signal(t1, t2, *arguments)
    dephasing = torch.exp(-per_slice(values.te_s) * (1 / column("t2_star_s") - 1 / column("t2_s")).clamp(min=0))
    signal = torch.where(
        per_slice(values.is_bssfp), balanced * torch.where(column("t2_star_s") < 0.005, dephasing, 1.0), spoiled
    )
    return signal * column("proton_density")
