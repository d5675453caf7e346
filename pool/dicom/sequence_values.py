"""Saturation time, flip angle and the like from the header of a perfusion frame, classic or enhanced."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from pool.errors import SettingsError
from pool.perfusion.sequence import SequenceValues

GAUSS_ABOVE = 100.0
"""GE writes the field strength in gauss: no magnet has this many tesla."""
ACCELERATION = 2.0
"""Parallel imaging that is assumed where the header names none, as classic ones do."""
MOST_OF_TI = 0.9
"""Share of the saturation time that the pulses before the centre of k-space fill at most."""


def sequence_values(header: Dataset) -> SequenceValues | None:
    """The sequence; None where the header leaves out one of its values, or holds one that cannot be meant.

    How many pulses precede the centre of k-space stands in no tag: it follows from the number of phase-encoding lines
    (or the rows), the acceleration, and what fits into the saturation time.
    """
    found = {
        "InversionTime": _number(header, "InversionTime", "InversionTimes"),
        "FlipAngle": _number(header, "FlipAngle"),
        "RepetitionTime": _number(header, "RepetitionTime"),
        "EchoTime": _number(header, "EchoTime", "EffectiveEchoTime"),
        "MagneticFieldStrength": field_strength_t(header),
    }
    readout = _readout(header)
    if readout is None or None in found.values():
        return None
    ti, flip, tr, te, field_t = (float(value or 0.0) for value in found.values())
    lines = _number(header, "NumberOfPhaseEncodingSteps", "MRAcquisitionPhaseEncodingStepsInPlane", "Rows") or 0.0
    named = _number(header, "ParallelReductionFactorInPlane")
    n_pulses = int(min(lines / (named or ACCELERATION) / 2, MOST_OF_TI * ti / tr)) if tr > 0 else 0
    try:
        return SequenceValues(readout, ti / 1e3, flip, tr / 1e3, te / 1e3, field_t, n_pulses, pulses_estimated=True)
    except SettingsError:
        return None


def field_strength_t(header: Dataset) -> float | None:
    """Field strength [T]; None where the header does not say."""
    found = _number(header, "MagneticFieldStrength")
    return found / 1e4 if found is not None and found > GAUSS_ABOVE else found


def _groups(header: Dataset) -> Iterator[Dataset]:
    """The header, then for an enhanced one its functional groups and what they hold."""
    yield header
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in list(header.get(keyword) or [])[:1]:
            for element in group:
                if element.VR == "SQ" and element.value:
                    yield element.value[0]


def _number(header: Dataset, *keywords: str) -> float | None:
    for group in _groups(header):
        for keyword in keywords:
            value = group.get(keyword)
            if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue":
                value = value[0] if value else None
            if value in (None, ""):
                continue
            try:
                return float(value)
            except (TypeError, ValueError):
                continue
    return None


def _readout(header: Dataset) -> str | None:
    """`bssfp` or `flash` from SequenceVariant, an enhanced header's own tags, or nothing."""
    variant = header.get("SequenceVariant")
    words = {variant} if isinstance(variant, str) else set(variant or ())
    if "SS" in words:
        return "bssfp"
    if "SP" in words:
        return "flash"
    for group in _groups(header):
        steady = str(group.get("SteadyStatePulseSequence") or "")
        if steady in ("FREE_PRECESSION", "TRANSVERSE"):
            return "bssfp"
        if str(group.get("Spoiling") or "") in ("RF", "GRADIENT", "RF_AND_GRADIENT"):
            return "flash"
    steady = str(header.get("SteadyStatePulseSequence") or "")
    return "bssfp" if steady == "FREE_PRECESSION" else "flash" if header.get("Spoiling") else None
