"""Scanner and patient populations as data: the paper's three data sets, 1.5 T variants, and `broad` for training.

Sequence values of `inD`, `exD-1` and `exD-2` are those of Table 1 and its caption in Yalcinkaya et al. 2024; anatomy
and kinetics come from the sources named in `populations`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace

from pool.errors import SettingsError
from pool.phantom.cohorts import COHORTS
from pool.phantom.dynamics import Bolus, Flow, Motion
from pool.phantom.populations import Anatomy, Reader, Surroundings
from pool.phantom.ranges import Range
from pool.phantom.sequence import Sequence


@dataclass(frozen=True)
class Preset:
    """Everything from which phantom slices and studies are drawn."""

    name: str
    """As in `PRESETS`."""
    scanner: str
    """Manufacturer and model, as in the paper."""
    sequence: Sequence
    """How images are made."""
    anatomy: Anatomy = Anatomy()
    """Hearts."""
    surroundings: Surroundings = Surroundings()
    """What lies around them."""
    flow: Flow = Flow()
    """Blood flow and its defects."""
    bolus: Bolus = Bolus()
    """Injection and circulation."""
    motion: Motion = Motion()
    """What is left of breathing and heart beat."""
    reader: Reader = Reader()
    """How the expert draws."""

    def content_sha256(self) -> str:
        """Hash of all fields, for manifests."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


_IND = Sequence(
    readouts=("flash",),
    field_t=3.0,
    agents=("gadobutrol",),
    ti_ms=Range(95, 105),
    flip_deg=Range(12, 12),
    tr_ms=Range(2.5, 2.5),
    te_ms=Range(0.9, 0.9),
    matrix_readout=Range(224, 224),
    matrix_phase=Range(160, 160),
    acceleration=Range(3, 4),
    spacing_mm=Range(1.8, 1.8),
    thickness_mm=8.0,
    noise=Range(0.012, 0.03),
    coil_falloff=Range(0.3, 0.9),
)
_EXD1 = replace(
    _IND,
    readouts=("bssfp",),
    ti_ms=Range(95, 130),
    flip_deg=Range(26, 35),
    tr_ms=Range(2.5, 2.6),
    te_ms=Range(1.0, 1.1),
    matrix_readout=Range(192, 224),
    matrix_phase=Range(120, 160),
    acceleration=Range(2, 2),
    spacing_mm=Range(1.9, 1.9),
    noise=Range(0.006, 0.018),
)
_EXD2 = replace(
    _IND,
    agents=("gadobutrol", "gadobenate"),
    ti_ms=Range(119, 138),
    flip_deg=Range(20, 20),
    matrix_readout=Range(160, 160),
    acceleration=Range(2, 2),
    spacing_mm=Range(1.7, 1.7),
    thickness_mm=10.0,
    noise=Range(0.01, 0.03),
    coil_falloff=Range(0.3, 1.1),
)
_BROAD = replace(
    _IND,
    readouts=("flash", "bssfp"),
    agents=("gadobutrol", "gadoterate", "gadobenate", "gadopentetate"),
    ti_ms=Range(70, 190),
    flip_deg=Range(8, 50),
    tr_ms=Range(2.0, 3.4),
    te_ms=Range(0.8, 1.6),
    matrix_readout=Range(128, 256),
    matrix_phase=Range(96, 192),
    acceleration=Range(1, 4),
    spacing_mm=Range(1.4, 3.0),
    noise=Range(0.002, 0.035),
    coil_falloff=Range(0.0, 1.3),
    signal_gamma=Range(0.7, 1.4),
    tissue_spread=0.6,
    imperfect_saturation=Range(0.0, 0.2),
)
_STRESS_AND_REST = Flow()
_STRESS = replace(_STRESS_AND_REST, stress_share=1.0)


def _of_cohort(name: str, flow: Flow) -> Flow:
    """With the prevalence of ischaemia and of late enhancement in the paper's Table 1."""
    cohort = COHORTS[name]
    return replace(
        flow, defect_share=cohort.ischaemia_share, infarct_share=cohort.lge_share, infarct_without_defect=1.0
    )


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("inD", "Siemens Verio", _IND, flow=_of_cohort("inD", _STRESS_AND_REST)),
        Preset("exD-1", "Siemens Skyra", _EXD1, flow=_of_cohort("exD-1", _STRESS)),
        Preset("exD-2", "GE Discovery MR750w", _EXD2, flow=_of_cohort("exD-2", _STRESS_AND_REST)),
        Preset("inD-1.5T", "Siemens Avanto", replace(_IND, field_t=1.5, noise=Range(0.015, 0.04))),
        Preset("exD-1-1.5T", "Siemens Aera", replace(_EXD1, field_t=1.5, flip_deg=Range(35, 50)), flow=_STRESS),
        Preset("exD-2-1.5T", "GE Optima MR450w", replace(_EXD2, field_t=1.5, agents=("gadobutrol",))),
        Preset(
            "broad",
            "any",
            _BROAD,
            anatomy=Anatomy.broad(),
            surroundings=Surroundings.broad(),
            flow=Flow.broad(),
            bolus=Bolus.broad(),
            motion=Motion.broad(),
            reader=Reader.broad(),
        ),
    )
}
"""Presets by name."""


def get_preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        SettingsError: no preset has that name; the text lists those that exist.
    """
    if name not in PRESETS:
        raise SettingsError("preset", f"must be one of {', '.join(PRESETS)}", repr(name))
    return PRESETS[name]
