"""An ASL study between two processes that do not trust each other: arrays without pickles, and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pool.asl.inputs import AslInput
from pool.asl.series import AslSeries
from pool.errors import PoolError
from pool.guarded_transfer import BAD_ANSWER, Answer, write_answer

ARRAY_FIELDS = ("control", "labelled", "baseline", "ti_s")
"""Fields of an `AslSeries` that travel as arrays of their own."""
PLAIN_FIELDS = ("pixel_spacing_mm", "field_t", "flow_refused", "remarks")
"""Its other fields."""


def pack_asl(study: AslInput, work: Path) -> None:
    """Leave an ASL study in `work`, the answer last."""
    series = study.series
    given = [name for name in ARRAY_FIELDS if getattr(series, name) is not None]
    for name in given:
        np.save(work / f"{name}.npy", getattr(series, name), allow_pickle=False)
    fields = {name: getattr(series, name) for name in PLAIN_FIELDS} | {"arrays": given}
    write_answer(work, Answer(None, None, None, None, fields))


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
        return AslInput(series)
    except PoolError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        raise BAD_ANSWER from error
