"""What DICOM results of an ASL study have to refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pool.dicom.sources import SourceFrame
from pool.run_choice import Role
from pool.series import SliceGeometry


@dataclass(frozen=True, eq=False)
class AslDicom:
    """Headers of an ASL study: whose it is, where its slice lies, and which frames it came from."""

    sources: tuple[tuple[SourceFrame, ...], ...]
    """Of the one slice: control images, labelled images, then the baseline's."""
    identity: Mapping[str, str]
    """Patient and study as text by keyword, `sources.IDENTITY_TAGS`: what derived objects inherit. Never logged."""
    geometry: tuple[SliceGeometry, ...]
    """Where the one slice lies."""
    pixel_spacing_mm: tuple[float, float]
    """Between rows, between columns [mm]."""
    grid: tuple[int, int, int]
    """`slice row col`."""
    thickness_mm: float | None = None
    """Slice thickness [mm]; None where the headers do not say."""
    role: Role = Role.PERFUSION
    """Stress, rest, or perfusion where nobody says which."""
