"""Saturation-recovery signal of a concentration, and the concentration of a signal.

Forward: relaxation rates rise with the concentration C, `R1 = 1 / T1 + r1 C` (likewise R2, R2*); magnetisation recovers
from the saturation pulse, of which a share u survives it, until the readout starts and then moves geometrically to the
readout's steady state until the centre of k-space.

    FLASH   S = sin a exp(-TE R2*) m_n,  m_(i+1) = m_i E1 cos a + 1 - E1
    bSSFP   S = exp(-TE R2) (s_inf + (m_0 sin(a/2) - s_inf) exp(-n TR R1*)),  R1* = R1 cos^2(a/2) + R2 sin^2(a/2),
            s_inf = sin a (1 - E1) / (1 - (E1 - E2) cos a - E1 E2)

FLASH: Haase, Magn Reson Med 1990;13:77; bSSFP: Schmitt et al., Magn Reson Med 2004;51:661. Signals are fractions of M0;
as M0 and coils are unknown, a curve is read relative to its own baseline, whose T1 is the native one. The inverse is a
table of the forward model on the branch where the signal rises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pool.perfusion.sequence import Agent, Relaxation, SequenceValues

HIGHEST_MM = 40.0
"""Largest concentration in a table [mmol/L], several times that of any first pass."""
N_ENTRIES = 6000
CLIP_SHARE = 0.97
"""Share of the largest signal beyond which the concentration is held: there 1 % of signal is more than 30 % of
concentration."""


def relative_m0_signal(
    concentration_mm: np.ndarray, tissue: Relaxation, agent: Agent, sequence: SequenceValues, unsaturated: float
) -> np.ndarray:
    """Signal over M0 at given concentrations.

    Args:
        concentration_mm: any shape [mmol/L].
        tissue: without contrast agent.
        agent: its relaxivities.
        sequence: timing and flip angle.
        unsaturated: share of the magnetisation that survives the saturation pulse; 1 is a readout without one, as a
            proton-density frame has it.
    """
    r1 = 1 / tissue.t1_s + agent.r1 * concentration_mm
    n, flip = sequence.n_pulses_before, np.deg2rad(sequence.flip_deg)
    start = 1 - (1 - unsaturated) * np.exp(-r1 * max(sequence.ti_s - n * sequence.tr_s, 0.0))
    e1 = np.exp(-sequence.tr_s * r1)
    if sequence.readout == "flash":
        r2_star = 1 / tissue.t2_star_s + agent.r2_star * concentration_mm
        factor = e1 * np.cos(flip)
        # the sum of n terms of a geometric series; factor < 1 as the flip angle is not 0
        magnetisation = start * factor**n + (1 - e1) * (1 - factor**n) / (1 - factor)
        return np.sin(flip) * np.exp(-sequence.te_s * r2_star) * magnetisation
    r2 = 1 / tissue.t2_s + agent.r2 * concentration_mm
    e2 = np.exp(-sequence.tr_s * r2)
    steady = np.sin(flip) * (1 - e1) / (1 - (e1 - e2) * np.cos(flip) - e1 * e2)
    rate = r1 * np.cos(flip / 2) ** 2 + r2 * np.sin(flip / 2) ** 2
    left = np.exp(-n * sequence.tr_s * rate)
    return np.exp(-sequence.te_s * r2) * (steady + (start * np.sin(flip / 2) - steady) * left)


@dataclass(frozen=True, eq=False)
class SignalTable:
    """Signal against concentration of one tissue, on the branch where both rise."""

    concentration_mm: np.ndarray
    """From 0 on [mmol/L]."""
    signal: np.ndarray
    """Over M0."""

    @classmethod
    def of(cls, tissue: Relaxation, agent: Agent, sequence: SequenceValues, unsaturated: float = 0.0) -> SignalTable:
        """Tabulate; entries are denser where concentrations are small."""
        grid = HIGHEST_MM * np.linspace(0, 1, N_ENTRIES) ** 2
        signal = relative_m0_signal(grid, tissue, agent, sequence, unsaturated)
        top = int(signal.argmax())
        return cls(grid[: top + 1], signal[: top + 1])

    @property
    def baseline(self) -> float:
        """Signal over M0 without contrast agent."""
        return float(self.signal[0])

    @property
    def limit(self) -> float:
        """Signal over baseline beyond which concentrations are held."""
        return CLIP_SHARE * float(self.signal[-1]) / self.baseline

    def saturation(self, relative: np.ndarray | float) -> np.ndarray:
        """Of the way from the baseline to the largest signal, the share that a signal over baseline has gone."""
        highest = self.signal[-1] / self.baseline
        return (np.asarray(relative) - 1) / (highest - 1)

    def relative(self, concentration_mm: np.ndarray) -> np.ndarray:
        """Signal over baseline of concentrations; below 0 on the tangent at 0, above the table its last value."""
        inside = np.interp(concentration_mm, self.concentration_mm, self.signal) / self.baseline
        return np.where(concentration_mm < 0, 1 + concentration_mm * self._slope_at_0, inside)

    def concentration(self, relative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Concentration [mmol/L] of signals over baseline, and which of them were held at the limit.

        Signals below the baseline, which noise makes, lie on the tangent at 0 and give negative concentrations.
        """
        held = relative > self.limit
        inside = np.interp(np.minimum(relative, self.limit), self.signal / self.baseline, self.concentration_mm)
        return np.where(relative < 1, (relative - 1) / self._slope_at_0, inside), held

    @property
    def _slope_at_0(self) -> float:
        return float((self.signal[1] / self.baseline - 1) / self.concentration_mm[1])
