"""An ASL study between two processes that do not trust each other: arrays without pickles, and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pool.asl.inputs import AslInput
from pool.asl.series import AslSeries
from pool.errors import PoolError
from pool.guarded_transfer import BAD_ANSWER, Answer, write_answer
from pool.run_choice import Role
from pool.series import SliceGeometry

if TYPE_CHECKING:
    from pool.dicom.asl.read import AslDicom

ARRAY_FIELDS = ("control", "labelled", "baseline", "ti_s")
"""Fields of an `AslSeries` that travel as arrays of their own."""
DICOM_FIELDS = ("pixel_spacing_mm", "grid", "thickness_mm", "role")
"""Fields of an `AslDicom` that travel as they are."""
PLAIN_FIELDS = ("pixel_spacing_mm", "field_t", "flow_refused", "remarks")
"""Other fields of an `AslSeries`."""


def pack_asl(study: AslInput, work: Path) -> None:
    """Leave an ASL study in `work`, the answer last."""
    series = study.series
    given = [name for name in ARRAY_FIELDS if getattr(series, name) is not None]
    for name in given:
        np.save(work / f"{name}.npy", getattr(series, name), allow_pickle=False)
    fields = {name: getattr(series, name) for name in PLAIN_FIELDS} | {"arrays": given}
    dicom = None
    if study.dicom is not None:
        dicom = {name: getattr(study.dicom, name) for name in DICOM_FIELDS} | {
            "sources": [[asdict(frame) for frame in frames] for frames in study.dicom.sources],
            "identity": dict(study.dicom.identity),
            "geometry": [asdict(geometry) for geometry in study.dicom.geometry],
        }
    write_answer(work, Answer(None, None, dicom, None, fields))


def unpack_asl(answer: Answer, work: Path) -> AslInput:
    """The ASL study that a child left, checked as every other: `AslSeries` cannot exist half valid.

    Raises:
        StudyError: it is none.
    """
    try:
        fields: dict[str, Any] = dict(answer.asl or {})
        arrays = {
            name: np.load(work / f"{name}.npy", allow_pickle=False) for name in ARRAY_FIELDS if name in fields["arrays"]
        }
        row_mm, col_mm = fields["pixel_spacing_mm"]
        series = AslSeries(
            control=arrays["control"],
            labelled=arrays["labelled"],
            pixel_spacing_mm=(float(row_mm), float(col_mm)),
            baseline=arrays.get("baseline"),
            ti_s=arrays.get("ti_s"),
            field_t=None if fields["field_t"] is None else float(fields["field_t"]),
            flow_refused=str(fields["flow_refused"]),
            remarks=tuple(str(remark) for remark in fields["remarks"]),
        )
        return AslInput(series, None if answer.dicom is None else _dicom(answer.dicom))
    except PoolError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise BAD_ANSWER from error


def _dicom(fields: Mapping[str, Any]) -> AslDicom:
    from pool.dicom.asl.read import AslDicom  # needs pydicom; the rest does not
    from pool.dicom.sources import SourceFrame

    row_mm, col_mm = fields["pixel_spacing_mm"]
    n_slices, n_rows, n_cols = fields["grid"]
    return AslDicom(
        sources=tuple(tuple(SourceFrame(**frame) for frame in frames) for frames in fields["sources"]),
        identity={str(key): str(value) for key, value in fields["identity"].items()},
        geometry=tuple(SliceGeometry(tuple(g["position_mm"]), tuple(g["orientation"])) for g in fields["geometry"]),
        pixel_spacing_mm=(float(row_mm), float(col_mm)),
        grid=(int(n_slices), int(n_rows), int(n_cols)),
        thickness_mm=None if fields["thickness_mm"] is None else float(fields["thickness_mm"]),
        role=Role(fields["role"]),
    )
