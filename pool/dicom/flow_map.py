"""Write myocardial blood flow as a DICOM Parametric Map of 32-bit floats on the native grid (PS3.3 A.75)."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.sr.coding import Code

from pool.dicom.derived import Origin, check_maps, common_arguments, finish, save, writing
from pool.dicom.parametric_map import NativeMaps
from pool.dicom.sources import SourceImages
from pool.errors import OutputError

SERIES_NUMBER = 9303
"""After the segmentation's and the U-map's."""
BLOOD_FLOW = Code("126390", "DCM", "Absolute myocardial blood flow")
UNITS = Code("mL/min/g", "UCUM", "mL/min/g")
DERIVATION = Code("113066", "DCM", "Time Course of Signal")
WINDOW_ML_MIN_G = 4.0
"""Top of the window: stress flow of healthy myocardium [mL/min/g]."""


def write_flow_map(path: Path, study: SourceImages, mbf_ml_min_g: NativeMaps, *, origin: Origin) -> None:
    """Write blood flow per pixel; pixels without a flow are 0, as flow outside the myocardium is.

    Args:
        path: file to write; its folder must exist.
        study: source of patient, study, geometry and references.
        mbf_ml_min_g: flow on the native grid, NaN where there is none; slices without any are left out.
        origin: what made the map.

    Raises:
        OutputError: a map that is not on the native grid, or without any flow; a file that cannot be written.
    """
    check_maps("blood flow map", mbf_ml_min_g, study)
    measured = np.isfinite(mbf_ml_min_g).any(axis=(1, 2))
    if not measured.any():
        raise OutputError("blood flow map", "needs a flow on at least one slice", "none", "See the failed pixels.")
    arguments = common_arguments(study, origin, "flow-map", SERIES_NUMBER, "MBF")
    arguments["plane_positions"] = [p for p, has_flow in zip(arguments["plane_positions"], measured) if has_flow]
    with writing("blood flow map"):
        made = hd.pm.ParametricMap(
            pixel_array=np.ascontiguousarray(np.nan_to_num(mbf_ml_min_g[measured], nan=0.0), dtype=np.float32),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[
                hd.pm.RealWorldValueMapping(
                    lut_label="MBF",
                    lut_explanation="Myocardial blood flow",
                    unit=UNITS,
                    value_range=(0.0, 20.0),
                    slope=1.0,
                    intercept=0.0,
                    quantity_definition=BLOOD_FLOW,
                )
            ],
            voi_lut_transformations=[
                hd.VOILUTTransformation(
                    window_center=WINDOW_ML_MIN_G / 2,
                    window_width=WINDOW_ML_MIN_G,
                    window_explanation="MBF",
                    voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT,
                )
            ],
            content_label="MBF",
            **arguments,
        )
        finish(made, study, origin, "flow-map", DERIVATION)
        save(made, path)
