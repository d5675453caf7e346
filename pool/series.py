"""A dynamic perfusion study as numbers: frames, times and where the slices lie in the patient."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pool.errors import InconsistentStudyError, NonFiniteError, SettingsError, TooFewFramesError
from pool.perfusion.sequence import SequenceValues
from pool.shapes import SeriesFrames, SeriesTimes

LEAST_FRAMES = 8
"""Fewer frames cannot show the first pass through right ventricle, left ventricle and myocardium."""


PLAUSIBLE_SPACING_MM = (0.2, 10.0)
"""Pixel spacings of cardiac MR; anything else is a wrong unit, and would be resampled into nonsense."""


@dataclass(frozen=True)
class SliceGeometry:
    """Where one slice lies in the patient (DICOM's LPS frame, PS3.3 C.7.6.2)."""

    position_mm: tuple[float, float, float]
    """Centre of the first pixel (row 0, column 0) [mm]."""
    orientation: tuple[float, float, float, float, float, float]
    """Unit vectors along a row (rising column index), then along a column (rising row index)."""

    @property
    def normal(self) -> np.ndarray:
        """Unit normal of the slice: row direction x column direction."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    def to_patient_mm(self, row: float, col: float, pixel_spacing_mm: tuple[float, float]) -> np.ndarray:
        """Patient position [mm] of a (fractional) native pixel; `pixel_spacing_mm` is (between rows, between cols)."""
        along_row, along_col = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        return (
            np.array(self.position_mm) + along_row * col * pixel_spacing_mm[1] + along_col * row * pixel_spacing_mm[0]
        )


@dataclass(frozen=True, eq=False)
class PerfusionSeries:
    """Frames, times and geometry of one first-pass perfusion study; cannot exist half valid.

    Raises:
        TooFewFramesError: fewer than 8 frames.
        NonFiniteError: a NaN or infinite pixel or time.
        InconsistentStudyError: times that do not rise, fields whose lengths disagree, or an impossible
            pixel spacing.
        SettingsError: no pixel spacing.
    """

    frames: SeriesFrames
    """Pixel values in the scanner's units, rescale slope and intercept applied."""
    times_s: SeriesTimes
    """Acquisition time of every frame [s]."""
    pixel_spacing_mm: tuple[float, float] | None
    """Distance between rows, between columns [mm]; None only for a slice that came already prepared (`.mat`)."""
    slice_names: tuple[str, ...]
    """One short name a slice, unique: `base`, `mid`, `apex` for three slices in order, else `slice-1`, ..."""
    geometry: tuple[SliceGeometry, ...] | None = None
    """Position of every slice in the patient; None where the input does not say (`.npz`, `.mat`)."""
    prepared: bool = False
    """True where the frames are already 128 x 128 x 30 in [0, 1], as published with the DAUGS paper."""
    remarks: tuple[str, ...] = ()
    """What the reader decided and the user should know, for example which time key won."""
    flipped: tuple[bool, bool] = (False, False)
    """Whether rows, columns run backwards here compared with the input file (NIfTI only)."""
    sequence: SequenceValues | None = None
    """How the frames were made, for blood flow; None where the input does not say."""

    def __post_init__(self) -> None:
        n_slices, n_frames = self.frames.shape[:2]
        if n_slices == 0 or 0 in self.frames.shape:
            raise InconsistentStudyError("series", "needs at least one slice with pixels", str(self.frames.shape))
        if n_frames < LEAST_FRAMES:
            raise TooFewFramesError(
                "series",
                f"a first pass needs at least {LEAST_FRAMES} frames a slice",
                f"{n_frames} frames",
                "Was the export cut, or is this a localiser?",
            )
        if self.times_s.shape != (n_slices, n_frames):
            raise InconsistentStudyError(
                "series", "needs one time a frame", f"times {self.times_s.shape} for frames {(n_slices, n_frames)}"
            )
        for field, wanted in (("slice_names", self.slice_names), ("geometry", self.geometry)):
            if wanted is not None and len(wanted) != n_slices:
                raise InconsistentStudyError(
                    "series", f"needs one entry of {field} a slice", f"{len(wanted)} for {n_slices}"
                )
        for i, name in enumerate(self.slice_names):
            if not np.isfinite(self.frames[i]).all():
                n_bad = int((~np.isfinite(self.frames[i])).sum())
                raise NonFiniteError(
                    f"slice {name}",
                    "every pixel must be a finite number",
                    f"{n_bad} NaN or infinite",
                    "Export it again.",
                )
            if not np.isfinite(self.times_s[i]).all() or not (np.diff(self.times_s[i]) > 0).all():
                raise InconsistentStudyError(
                    f"slice {name}", "frame times must be finite and strictly rising", remedy="Check the time tags."
                )
        if self.pixel_spacing_mm is None and not self.prepared:
            raise SettingsError("series", "needs a pixel spacing in mm", "none", "It is never guessed; give it.")
        low, high = PLAUSIBLE_SPACING_MM
        if self.pixel_spacing_mm is not None and not all(low <= s <= high for s in self.pixel_spacing_mm):
            raise InconsistentStudyError(
                "series",
                f"pixel spacing must lie from {low:g} to {high:g} mm",
                f"{self.pixel_spacing_mm} mm",
                "Is it given in metres, or is it the field of view?",
            )

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return int(self.frames.shape[0])

    @property
    def n_frames(self) -> int:
        """Number of frames of every slice."""
        return int(self.frames.shape[1])

    def to_input_grid(self, maps: np.ndarray) -> np.ndarray:
        """Maps `... row col` with their axes as in the input file."""
        row_step, col_step = (-1 if flip else 1 for flip in self.flipped)
        return np.ascontiguousarray(maps[..., ::row_step, ::col_step])

    def content_sha256(self) -> str:
        """Hash of all that numbers depend on: pixels, times, spacing, geometry, sequence; not of names or remarks."""
        digest = hashlib.sha256()
        digest.update(repr((self.frames.shape, self.pixel_spacing_mm, self.prepared)).encode())
        digest.update(np.ascontiguousarray(self.frames, dtype="<f4").tobytes())
        digest.update(np.ascontiguousarray(self.times_s, dtype="<f8").tobytes())
        for geometry in self.geometry or ():
            digest.update(repr((geometry.position_mm, geometry.orientation)).encode())
        if self.sequence is not None:
            digest.update(repr(self.sequence).encode())
        return digest.hexdigest()


BASE_TO_APEX_LPS = np.array([0.6, -0.6, -0.53])
"""The heart's long axis from base to apex (unit vector): to the left (+x), forward (-y) and down (-z)."""
CLEAR_COSINE = 0.3
"""Below this cosine between the slices' normal and `BASE_TO_APEX_LPS` the order from base to apex is a guess."""
UNCLEAR_ORDER = "the slices' normal does not point from base to apex as usual: check the order of the slices"
"""Remark on a study whose slices lie otherwise than short-axis slices do."""


def base_is_first(geometry: Sequence[SliceGeometry]) -> bool:
    """Whether slices in this order run from base to apex; True for a single one."""
    step = np.array(geometry[-1].position_mm) - np.array(geometry[0].position_mm)
    return float(step @ BASE_TO_APEX_LPS) >= 0


def order_is_clear(geometry: SliceGeometry) -> bool:
    """Whether slices that lie like this one are short-axis slices, so that their normal tells base from apex."""
    return abs(float(geometry.normal @ BASE_TO_APEX_LPS)) >= CLEAR_COSINE


def names_of_slices(n_slices: int) -> tuple[str, ...]:
    """`base mid apex` for three slices in that order, `slice-1 ...` for any other number."""
    return ("base", "mid", "apex") if n_slices == 3 else tuple(f"slice-{i + 1}" for i in range(n_slices))
