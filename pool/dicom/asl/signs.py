"""Signed images from real ones; what magnitude images, which have lost their sign, may still be used for.

Both images of FAIR invert the muscle of the slice, so in both it recovers as `S = S0 (1 - 2 a exp(-TI / T1))`: negative
at first, zero at `TI = T1 ln 2a`, then positive. A magnitude image shows |S|. Where muscle is surely positive that is
what a signed image would show of it; elsewhere control minus label has lost its sign, and near zero the noise is folded
up: flow would be wrong.
"""

from __future__ import annotations

import math

import numpy as np

from pool.dicom.frames import FrameRecord
from pool.dicom.opening import reading
from pool.errors import SettingsError, UnreadableFileError
from pool.perfusion.sequence import MYOCARDIUM, table_field_t

COMPONENTS = {"R": "real", "M": "magnitude", "P": "phase", "I": "imaginary"}
"""Component of a complex image, by letter."""
SURE_T1 = 1.15
"""Longest T1 of muscle over the tabulated one: native T1 varies by 5 % between healthy hearts, more in sick ones."""
SIGNED_SHARE = 0.01
"""More negative pixels than this share are no ringing of an interpolation: the images are signed."""
DEFAULT_FIELD_T = 3.0
"""Field strength where the headers do not say, as in the second paper [T]."""
_GE_COMPONENTS = {0: "M", 1: "P", 2: "R", 3: "I"}


def component_of(record: FrameRecord) -> str:
    """Letter of `COMPONENTS`: by ComplexImageComponent or ImageType, or GE's private image type (0043,102F)."""
    if record.component != "M":
        return record.component
    for part in record.image_type[2:]:
        if part in ("R", "REAL", "PSIR", "I", "IMAGINARY", "P", "PHASE") or part.startswith(("R_", "I_")):
            return "R" if part == "PSIR" else part[0]
    try:
        with reading(record.path.name):
            return _GE_COMPONENTS.get(int(record.header.private_block(0x43, "GEMS_PARM_01")[0x2F].value), "M")
    except UnreadableFileError:  # there is none, or no number
        return "M"


def sign_of(
    inverted: np.ndarray, component: str, ti_s: np.ndarray | None, field_t: float | None
) -> tuple[str, list[str]]:
    """Why flow must not be measured, empty where it may; and remarks.

    Args:
        inverted: control and labelled images after rescaling, `image row col`.
        component: letter of `COMPONENTS`.
        ti_s: inversion times of all of them [s]; None where the headers do not say.
        field_t: field strength [T]; None where the headers do not say.
    """
    share = float((inverted < 0).mean())
    if share > SIGNED_SHARE:
        said = [] if component == "R" else ["images are called magnitude but have negative pixels: taken as signed"]
        return "", said
    if component == "R":
        why = "flow needs the zero of real images; no pixel is negative: was RescaleIntercept removed?"
        return (why, [why]) if share == 0 else ("", [])
    remark = "magnitude images: control and labelled images have lost their sign"
    return _why_not(ti_s, field_t), [remark]


def brightness_remarks(control: np.ndarray, labelled: np.ndarray) -> list[str]:
    """A warning where control and labelled images look swapped: in FAIR the blood of control images is not inverted."""
    if float(np.abs(control).mean()) < float(np.abs(labelled).mean()) and float(control.mean()) < float(
        labelled.mean()
    ):
        return ["labelled images are brighter than control images, which have fresh blood: are the two swapped?"]
    return []


def _why_not(ti_s: np.ndarray | None, field_t: float | None) -> str:
    if ti_s is None:
        return ""  # there is no flow without times anyway, and the result says so
    try:
        t1_s = MYOCARDIUM[table_field_t(field_t or DEFAULT_FIELD_T)].t1_s
    except SettingsError:
        return f"flow of magnitude images needs a field strength of 1.5 or 3 T; found {field_t:g} T"
    needed_s = SURE_T1 * t1_s * math.log(2)
    shortest_s = float(ti_s.min())
    if shortest_s >= needed_s:
        return ""
    return (
        f"flow of magnitude images needs inversion times of at least {needed_s:.2f} s, after which muscle is positive; "
        f"found {shortest_s:.2f} s: send phase-corrected real images"
    )
