"""Saturation-recovery signal of spoiled gradient echo (FLASH) and balanced (bSSFP) readouts.

All functions take tensors that broadcast, times in seconds, flip angles in radians, and return the signal at the
centre of k-space as a fraction of M0. Two steps: recovery during the delay after the saturation pulse, which may leave
a share of the magnetisation, then the approach to the readout's steady state before the centre of k-space.
"""

from __future__ import annotations

import torch
from torch import Tensor


def recovered_magnetisation(delay_s: Tensor, t1_s: Tensor, unsaturated: Tensor | float = 0.0) -> Tensor:
    """Longitudinal magnetisation after a saturation pulse that leaves a share u: `1 - (1 - u) exp(-delay / T1)`."""
    return 1 - (1 - unsaturated) * torch.exp(-delay_s / t1_s)


def flash_steady_state(t1_s: Tensor, flip_rad: Tensor, tr_s: Tensor) -> Tensor:
    """Ernst's steady-state longitudinal magnetisation before a pulse: `(1 - E1) / (1 - E1 cos a)`."""
    e1 = torch.exp(-tr_s / t1_s)
    return (1 - e1) / (1 - e1 * torch.cos(flip_rad))


def sr_flash_signal(
    t1_s: Tensor,
    t2_star_s: Tensor,
    ti_s: Tensor,
    flip_rad: Tensor,
    tr_s: Tensor,
    te_s: Tensor,
    n_pulses_before: Tensor,
    unsaturated: Tensor | float = 0.0,
) -> Tensor:
    """SR-FLASH signal with linear phase encoding.

    `S = sin a * (Mss + (M(TI - n TR) - Mss) (E1 cos a)^n) * exp(-TE / T2*)`, n pulses before the centre of k-space
    (Haase, Magn Reson Med 1990;13:77, with a saturation in place of the inversion).

    Args:
        t1_s, t2_star_s: relaxation times [s].
        ti_s: saturation time, from the saturation pulse to the centre of k-space [s].
        flip_rad: flip angle [rad].
        tr_s, te_s: repetition and echo time [s].
        n_pulses_before: readout pulses before the centre of k-space; the delay `TI - n TR` is cut at 0.
        unsaturated: share of the magnetisation that survives the saturation pulse.
    """
    start = recovered_magnetisation((ti_s - n_pulses_before * tr_s).clamp(min=0), t1_s, unsaturated)
    steady = flash_steady_state(t1_s, flip_rad, tr_s)
    decay = torch.exp(n_pulses_before * (torch.log(torch.cos(flip_rad)) - tr_s / t1_s))
    return torch.sin(flip_rad) * (steady + (start - steady) * decay) * torch.exp(-te_s / t2_star_s)


def bssfp_steady_state(t1_s: Tensor, t2_s: Tensor, flip_rad: Tensor, tr_s: Tensor) -> Tensor:
    """On-resonance steady state right after a pulse (Freeman-Hill), without echo decay.

    `sin a (1 - E1) / (1 - (E1 - E2) cos a - E1 E2)`.
    """
    e1, e2 = torch.exp(-tr_s / t1_s), torch.exp(-tr_s / t2_s)
    return torch.sin(flip_rad) * (1 - e1) / (1 - (e1 - e2) * torch.cos(flip_rad) - e1 * e2)


def sr_bssfp_signal(
    t1_s: Tensor,
    t2_s: Tensor,
    ti_s: Tensor,
    flip_rad: Tensor,
    tr_s: Tensor,
    te_s: Tensor,
    n_pulses_before: Tensor,
    unsaturated: Tensor | float = 0.0,
) -> Tensor:
    """SR-bSSFP signal after an alpha/2 preparation, linear phase encoding.

    `S = (Sss + (M(TI - n TR) sin(a/2) - Sss) exp(-n TR / T1*)) exp(-TE / T2)` with
    `1 / T1* = cos^2(a/2) / T1 + sin^2(a/2) / T2` (Schmitt et al., Magn Reson Med 2004;51:661, eqs. 5-8, with a
    saturation in place of the inversion). Off-resonance is not modelled. Arguments as for `sr_flash_signal`.
    """
    start = recovered_magnetisation((ti_s - n_pulses_before * tr_s).clamp(min=0), t1_s, unsaturated) * torch.sin(
        flip_rad / 2
    )
    steady = bssfp_steady_state(t1_s, t2_s, flip_rad, tr_s)
    rate_per_s = torch.cos(flip_rad / 2) ** 2 / t1_s + torch.sin(flip_rad / 2) ** 2 / t2_s
    approach = torch.exp(-n_pulses_before * tr_s * rate_per_s)
    return (steady + (start - steady) * approach) * torch.exp(-te_s / t2_s)
