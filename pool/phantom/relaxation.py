"""Relaxation of tissues and contrast agents at 1.5 and 3 T.

Sources: tissue T1 and T2 from Stanisz et al., Magn Reson Med 2005;54:507 (doi:10.1002/mrm.20605), but the T1 of blood
and myocardium as measured in vivo: Kawel-Boehm et al., J Cardiovasc Magn Reson 2020;22:87 (myocardium) and Zhang et
al., Magn Reson Med 2013;70:1082 (blood, 3 T); fat from Gold et al., AJR 2004;183:343; relaxivities in plasma at 37 C
from Rohrer et al., Invest Radiol 2005;40:715; lung density and T2* after Hatabu et al., Eur J Radiol 1999;29:245.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pool.errors import SettingsError


@dataclass(frozen=True)
class Tissue:
    """Relaxation of one tissue without contrast agent.

    Raises:
        SettingsError: a time or density that is not positive.
    """

    name: str
    """For error texts."""
    t1_s: float
    """Longitudinal relaxation time [s]."""
    t2_s: float
    """Transverse relaxation time [s]."""
    t2_star_s: float
    """Effective transverse relaxation time [s]."""
    proton_density: float = 1.0
    """Water or fat protons relative to blood."""

    def __post_init__(self) -> None:
        for label, value in (
            ("T1", self.t1_s),
            ("T2", self.t2_s),
            ("T2*", self.t2_star_s),
            ("proton density", self.proton_density),
        ):
            if not 0 < value < math.inf:
                raise SettingsError(f"tissue {self.name}", f"{label} must be positive", f"{value:g}")


@dataclass(frozen=True)
class ContrastAgent:
    """Relaxivities of a gadolinium chelate in plasma.

    Raises:
        SettingsError: a relaxivity that is not positive.
    """

    name: str
    """Generic name."""
    r1_per_mm_s: float
    """Longitudinal relaxivity [L / (mmol s)]."""
    r2_per_mm_s: float
    """Transverse relaxivity [L / (mmol s)]."""

    def __post_init__(self) -> None:
        for label, value in (("r1", self.r1_per_mm_s), ("r2", self.r2_per_mm_s)):
            if not 0 < value < math.inf:
                raise SettingsError(f"contrast agent {self.name}", f"{label} must be positive", f"{value:g}")


TISSUES: dict[float, dict[str, Tissue]] = {
    1.5: {
        "blood": Tissue("blood", 1.480, 0.290, 0.120),
        "myocardium": Tissue("myocardium", 0.980, 0.040, 0.032, 0.85),
        "fat": Tissue("fat", 0.288, 0.165, 0.060, 0.9),
        "liver": Tissue("liver", 0.576, 0.046, 0.028, 0.8),
        "muscle": Tissue("muscle", 1.008, 0.044, 0.030, 0.85),
        "lung": Tissue("lung", 1.200, 0.041, 0.0020, 0.25),
    },
    3.0: {
        "blood": Tissue("blood", 1.650, 0.275, 0.050),
        "myocardium": Tissue("myocardium", 1.200, 0.047, 0.025, 0.85),
        "fat": Tissue("fat", 0.371, 0.133, 0.035, 0.9),
        "liver": Tissue("liver", 0.812, 0.042, 0.018, 0.8),
        "muscle": Tissue("muscle", 1.412, 0.050, 0.025, 0.85),
        "lung": Tissue("lung", 1.400, 0.041, 0.0012, 0.25),
    },
}
"""Tissues by field strength [T]."""

AGENTS: dict[float, dict[str, ContrastAgent]] = {
    1.5: {
        "gadobutrol": ContrastAgent("gadobutrol", 5.2, 6.1),
        "gadoterate": ContrastAgent("gadoterate", 3.6, 4.3),
        "gadopentetate": ContrastAgent("gadopentetate", 4.1, 4.6),
        "gadobenate": ContrastAgent("gadobenate", 6.3, 8.7),
    },
    3.0: {
        "gadobutrol": ContrastAgent("gadobutrol", 5.0, 7.1),
        "gadoterate": ContrastAgent("gadoterate", 3.5, 4.9),
        "gadopentetate": ContrastAgent("gadopentetate", 3.7, 5.2),
        "gadobenate": ContrastAgent("gadobenate", 5.5, 11.0),
    },
}
"""Contrast agents by field strength [T]."""
