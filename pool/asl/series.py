"""An ASL study to analyse: pairs of control and labelled images of one slice."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pool.errors import InconsistentStudyError, NonFiniteError, PoolError, UnreadableFileError, UnsupportedFileError
from pool.npzfile import read_npz_arrays

ARRAYS = ("control", "labelled", "baseline", "ti_s", "pixel_spacing_mm")
"""Names in an `.npz`; `baseline` and `ti_s` may be missing, and with them the flow."""


@dataclass(frozen=True, eq=False)
class AslSeries:
    """Signed images after phase correction, in any unit.

    Raises:
        InconsistentStudyError: arrays whose shapes do not belong together.
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
        if self.baseline is not None and self.baseline.shape != shape[1:]:
            raise InconsistentStudyError("ASL study", "needs a baseline of the images' size", str(self.baseline.shape))
        if self.ti_s is not None and self.ti_s.shape != (shape[0], 2):
            raise InconsistentStudyError("ASL study", "needs two inversion times a pair", str(self.ti_s.shape))
        if len(self.pixel_spacing_mm) != 2 or not all(0 < value < 100 for value in self.pixel_spacing_mm):
            rule = "needs a pixel spacing between 0 and 100 mm, rows and columns"
            raise InconsistentStudyError("ASL study", rule, str(self.pixel_spacing_mm))
        given = [array for array in (self.control, self.labelled, self.baseline, self.ti_s) if array is not None]
        if not all(np.isfinite(array).all() for array in given):
            raise NonFiniteError("ASL study", "every pixel and time must be a finite number", "NaN or infinite")

    @classmethod
    def load(cls, path: Path) -> AslSeries:
        """Read an `.npz` with the arrays `ARRAYS`.

        Raises:
            UnsupportedFileError: another kind of file.
            UnreadableFileError: a damaged file, or one without control, labelled or pixel_spacing_mm.
            InconsistentStudyError, NonFiniteError: see the class.
        """
        if path.suffix != ".npz":
            rule = f"an ASL study is DICOM files or an .npz with {', '.join(ARRAYS)}"
            raise UnsupportedFileError(f"file {path.name}", rule, path.suffix or "no extension")
        try:
            found = read_npz_arrays(path, ARRAYS)
            if missing := [name for name in ("control", "labelled", "pixel_spacing_mm") if name not in found]:
                raise UnreadableFileError(f"file {path.name}", f"must hold {', '.join(ARRAYS)}", f"no {missing[0]}")
            spacing = tuple(float(value) for value in np.ravel(found["pixel_spacing_mm"]))
            images = {name: np.asarray(found[name], np.float32) for name in ARRAYS[:3] if name in found}
            ti_s = np.asarray(found["ti_s"], np.float64) if "ti_s" in found else None
        except PoolError:
            raise
        except (OSError, ValueError, TypeError, zipfile.BadZipFile, EOFError, NotImplementedError, KeyError) as error:
            rule, remedy = "must be a whole, readable .npz file", "Save it again."
            raise UnreadableFileError(f"file {path.name}", rule, type(error).__name__, remedy) from error
        if len(spacing) != 2:
            raise InconsistentStudyError("ASL study", "needs two pixel spacings", str(spacing))
        baseline = images.get("baseline")
        return cls(images["control"], images["labelled"], (spacing[0], spacing[1]), baseline, ti_s)

    def content_sha256(self) -> str:
        """Hash of all that numbers depend on: images, times, spacing; not of remarks."""
        digest = hashlib.sha256(repr((self.control.shape, self.pixel_spacing_mm)).encode())
        for array in (self.control, self.labelled, self.baseline, self.ti_s):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()
