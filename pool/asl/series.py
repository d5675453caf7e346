"""An ASL study to analyse: pairs of control and labelled images of one slice."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pool.array_files import require_real, whole_file
from pool.errors import InconsistentStudyError, NonFiniteError, UnreadableFileError, UnsupportedFileError
from pool.npzfile import held_arrays, read_npz_arrays

ARRAYS = ("control", "labelled", "baseline", "ti_s", "pixel_spacing_mm")
"""Names in an `.npz`; `baseline` and `ti_s` may be missing, and with them the flow."""
MOST_PX = 512
"""Most rows or columns: ASL images of the heart have 96 to 256, and a block of trials of 2048 x 2048 takes 16 GB."""
MOST_PAIRS = 1000
"""Most pairs: each takes a breath-hold of several seconds, so many would take hours."""
PLAUSIBLE_TI_S = (0.05, 10.0)
"""Inversion times outside are in milliseconds, or of no heart [s]."""


@dataclass(frozen=True, eq=False)
class AslSeries:
    """Signed images after phase correction, in any unit.

    Raises:
        InconsistentStudyError: arrays whose shapes do not belong together or are larger than those of any study, or
            impossible spacings or times.
        NonFiniteError: pixels or times that are not finite.
    """

    control: np.ndarray
    """float32 `pair row col`."""
    labelled: np.ndarray
    """float32 `pair row col`."""
    pixel_spacing_mm: tuple[float, float]
    """Between rows, between columns [mm]."""
    baseline: np.ndarray | None = None
    """Image without inversion, float32 `row col`."""
    ti_s: np.ndarray | None = None
    """Inversion to image, control and labelled, float64 `pair 2` [s]."""
    field_t: float | None = None
    """Field strength [T]; None where the input does not say."""
    flow_refused: str = ""
    """Why flow must not be measured though baseline and times are there; empty where it may."""
    remarks: tuple[str, ...] = ()
    """What the reader decided and the user should know, for example which images were left out."""

    def __post_init__(self) -> None:
        shape, rule = self.control.shape, "needs control and labelled images, pairs of one size"
        if self.control.ndim != 3 or not self.control.size or self.labelled.shape != shape:
            raise InconsistentStudyError("ASL study", rule, f"{shape} and {self.labelled.shape}")
        if max(shape[1:]) > MOST_PX:
            raise InconsistentStudyError(
                "ASL study",
                f"may have at most {MOST_PX} rows and columns",
                f"{shape[1]} x {shape[2]}",
                "Send one slice, not a mosaic.",
            )
        if len(self.control) > MOST_PAIRS:
            raise InconsistentStudyError(
                "ASL study", f"may have at most {MOST_PAIRS} pairs", str(len(self.control)), "Send one run."
            )
        if self.baseline is not None and self.baseline.shape != shape[1:]:
            raise InconsistentStudyError("ASL study", "needs a baseline of the images' size", str(self.baseline.shape))
        if self.ti_s is not None and self.ti_s.shape != (shape[0], 2):
            raise InconsistentStudyError("ASL study", "needs two inversion times a pair", str(self.ti_s.shape))
        if len(self.pixel_spacing_mm) != 2 or not all(0 < value < 100 for value in self.pixel_spacing_mm):
            rule = "needs a pixel spacing between 0 and 100 mm, rows and columns"
            n_values = len(self.pixel_spacing_mm)
            found = str(self.pixel_spacing_mm) if n_values == 2 else f"{n_values} numbers"
            raise InconsistentStudyError("ASL study", rule, found)
        given = [array for array in (self.control, self.labelled, self.baseline, self.ti_s) if array is not None]
        if not all(np.isfinite(array).all() for array in given):
            raise NonFiniteError("ASL study", "every pixel and time must be a finite number", "NaN or infinite")
        low_s, high_s = PLAUSIBLE_TI_S
        if self.ti_s is not None and not ((low_s <= self.ti_s) & (self.ti_s <= high_s)).all():
            raise InconsistentStudyError(
                "ASL study",
                f"needs inversion times between {low_s:g} and {high_s:g} s",
                f"{self.ti_s.min():g} to {self.ti_s.max():g}",
                "Are they in milliseconds?",
            )

    @classmethod
    def load(cls, path: Path) -> AslSeries:
        """Read an `.npz` with the arrays `ARRAYS`.

        Raises:
            UnsupportedFileError: another kind of file.
            UnreadableFileError: a damaged file, or one without control, labelled or pixel_spacing_mm.
            InconsistentStudyError: a file that holds frames of a first pass too, or anything but real numbers; see
                the class.
            NonFiniteError: see the class.
        """
        if path.suffix.lower() != ".npz":
            rule = f"an ASL study is DICOM files or an .npz with {', '.join(ARRAYS)}"
            raise UnsupportedFileError(f"file {path.name}", rule, path.suffix or "no extension")
        with whole_file(path):
            if held_arrays(path) >= {"frames", "control"}:
                rule, remedy = "must hold a first pass or an ASL study", "Save them as two files."
                raise InconsistentStudyError(f"file {path.name}", rule, "frames and control", remedy)
            found = read_npz_arrays(path, ARRAYS)
            if missing := [name for name in ("control", "labelled", "pixel_spacing_mm") if name not in found]:
                raise UnreadableFileError(f"file {path.name}", f"must hold {', '.join(ARRAYS)}", f"no {missing[0]}")
            require_real(path, found, "Save signed images as float32.")
            spacing = found["pixel_spacing_mm"]
            if spacing.size != 2:
                raise InconsistentStudyError("ASL study", "needs two pixel spacings", f"{spacing.size} numbers")
            with np.errstate(over="ignore"):  # what does not fit into float32 is refused as not finite
                images = {name: np.asarray(found[name], np.float32) for name in ARRAYS[:3] if name in found}
            ti_s = np.asarray(found["ti_s"], np.float64) if "ti_s" in found else None
            row_mm, col_mm = (float(value) for value in spacing.ravel())
        return cls(images["control"], images["labelled"], (row_mm, col_mm), images.get("baseline"), ti_s)

    def content_sha256(self) -> str:
        """Hash of all that numbers depend on: images, times, spacing, field, whether flow may be; not of remarks."""
        plain = (self.control.shape, self.pixel_spacing_mm, self.field_t, self.flow_refused)
        digest = hashlib.sha256(repr(plain).encode())
        for array in (self.control, self.labelled, self.baseline, self.ti_s):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
