"""What DICOM files of a phantom ASL study have in common: images in order of time, sequence, identifiers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pool.phantom.asl import FIELD_T, FLIP_DEG, TE_MS, THICKNESS_MM, TR_MS, AslStudy
from pool.phantom.dicom_common import START_S, uid
from pool.phantom.study_types import ScanValues

PAIR_S, LABELLED_AFTER_S = 30.0, 6.0
"""From one breath-hold to the next, from the control to the labelled image in it [s]."""


@dataclass(frozen=True, eq=False)
class AslImage:
    """One image as it was taken."""

    kind: str
    """`control`, `label` or `baseline`."""
    frame: np.ndarray
    """Signed, float32 `row col`."""
    at_s: float
    """Time of day [s]."""
    ti_ms: float | None
    """Inversion to image [ms]; None of the baseline."""


def images_of(study: AslStudy) -> list[AslImage]:
    """The baseline first, then the pairs, control before labelled."""
    found = [AslImage("baseline", study.baseline, START_S, None)]
    for pair, (control, labelled) in enumerate(zip(study.control, study.labelled, strict=True)):
        at_s = START_S + PAIR_S * (pair + 1)
        control_ms, labelled_ms = (1e3 * float(ti_s) for ti_s in study.ti_s[pair])
        found.append(AslImage("control", control, at_s, control_ms))
        found.append(AslImage("label", labelled, at_s + LABELLED_AFTER_S, labelled_ms))
    return found


def scan_of(study: AslStudy) -> ScanValues:
    """What the scanner would write about itself; the preparation is an inversion, image by image."""
    return ScanValues(
        scanner="Phantom ASL",
        field_t=FIELD_T,
        readout="bssfp",
        ti_ms=1e3 * float(study.ti_s.mean()),
        flip_deg=FLIP_DEG,
        tr_ms=TR_MS,
        te_ms=TE_MS,
        thickness_mm=THICKNESS_MM,
        acceleration=2.0,
        heart_rate_bpm=60.0 / float(study.ti_s.mean()),
        n_pulses_before=0,
        r1_per_mm_s=0.0,
    )


def description_of(study: AslStudy) -> str:
    """Of the series."""
    return f"PHANTOM {'stress' if study.stress else 'rest'} ASL FAIR"


def asl_uid(study: AslStudy, *parts: object) -> str:
    """A UID of something in a study: the same for the same study."""
    return uid("asl", study.preset_name, study.seed, *parts)


def rescale_slope(images: list[AslImage], largest: int) -> float:
    """A slope with three decimals by which no image exceeds the largest stored value."""
    return math.ceil(1e3 * max(float(np.abs(image.frame).max()) for image in images) / largest) / 1e3
