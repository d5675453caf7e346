"""Write the U-map as a DICOM Parametric Map of 32-bit floats on the native grid (PS3.3 A.75)."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from pool.dicom.derived import Origin, check_maps, common_arguments, finish, save, writing
from pool.dicom.sources import SourceImages
from pool.errors import OutputError
from pool.shapes import Float32

NativeMaps = Float32[np.ndarray, "slice row col"]
"""One value a pixel of the native grid."""

SERIES_NUMBER = 9302
"""Far above what scanners count to, so that it sorts behind the images."""
STANDARD_DEVIATION = Code("113061", "DCM", "Standard Deviation")
NO_UNITS = Code("1", "UCUM", "no units")
DERIVATION = Code("113076", "DCM", "Segmentation")
"""The map is the spread of a segmentation; CID 7203 has no code for that."""
LARGEST_U = 0.5
"""Largest standard deviation (divided by n) that values between 0 and 1 can have."""


def write_parametric_map(
    path: Path,
    study: SourceImages,
    uncertainty: NativeMaps,
    *,
    origin: Origin,
) -> None:
    """Write the pixel-wise standard deviation of the myocardium's probability over all covering patches.

    Pixels are stored as they are, so a reader gets the same 32-bit floats back; the window runs from 0 to 0.5 with the
    function LINEAR_EXACT, as DICOM's plain LINEAR needs a width of at least 1 (PS3.3 C.11.2.1.3.2).

    Args:
        path: file to write; its folder must exist.
        study: source of patient, study, geometry and references.
        uncertainty: U-map on the native grid, dimensionless, slices in the order of the study. A slice of NaN
            alone has no outline and hence no U-map: it has no frame in the object.
        origin: what made the map.

    Raises:
        OutputError: a map that is not on the native grid, or partly not finite; no slice with a map; a file that
            cannot be written.
    """
    check_maps("parametric map", uncertainty, study)
    outlined = ~np.isnan(uncertainty).all(axis=(1, 2))
    if not outlined.any():
        raise OutputError(
            "parametric map", "needs a map on at least one slice", "none", "See the reasons given slice by slice."
        )
    if not np.isfinite(uncertainty[outlined]).all():
        raise OutputError("parametric map", "every pixel must be a finite number", "NaN or infinite")
    arguments = common_arguments(study, origin, "parametric-map", SERIES_NUMBER, "U-map")
    arguments["plane_positions"] = [p for p, has_map in zip(arguments["plane_positions"], outlined) if has_map]
    with writing("parametric map"):
        made = hd.pm.ParametricMap(
            pixel_array=np.ascontiguousarray(uncertainty[outlined], dtype=np.float32),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                hd.pm.RealWorldValueMapping(
                    lut_label="U_MAP",
                    lut_explanation="Standard deviation of the myocardium's probability",
                    unit=NO_UNITS,
                    value_range=(0.0, LARGEST_U),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=STANDARD_DEVIATION,
                )
            ],
            voi_lut_transformations=[
                hd.VOILUTTransformation(
                    window_center=LARGEST_U / 2,
                    window_width=LARGEST_U,
                    window_explanation="U-map",
                    voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT,
                )
            ],
            content_label="U_MAP",
            **arguments,
        )
        finish(made, study, origin, "parametric-map", DERIVATION)
        save(made, path)
