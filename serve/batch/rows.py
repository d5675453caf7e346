"""A study's result as rows of the cohort's table: one a slice, or one for a study that has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve.batch.settings import BatchSettings

COLUMNS: dict[str, type] = {
    "study": str,
    "slice": str,
    "state": str,
    "reason": str,
    "chosen": str,
    "u_pp": float,
    "u_tot": float,
    "area_mm2": float,
    "n_myo_native_px": int,
    "closed_ring": bool,
    "n_pieces": int,
    "n_eligible": int,
    "n_members": int,
    "rule": str,
    "pool": str,
    "pool_sha256": str,
    "settings_sha256": str,
    "software": str,
    "study_sha256": str,
}
"""Columns in their order. A value that there is none of is empty in CSV and null in Parquet."""
DONE, NO_OUTLINE, FAILED = "done", "no outline", "failed"
"""States of a row: an outline; an analysis that could believe no member; no analysis."""

Row = dict[str, Any]


def rows_of_result(study_id: str, result: Mapping[str, Any]) -> list[Row]:
    """One row a slice, in the study's order.

    Args:
        study_id: pseudonym.
        result: `result.json`, see `pool.results.result_dict`.
    """
    common = {
        "study": study_id,
        "rule": result["settings"]["rule"],
        "pool": result["pool"]["name"],
        "pool_sha256": result["pool"]["sha256"],
        "n_members": result["pool"]["n_members"],
        "settings_sha256": result["settings"]["sha256"],
        "software": result["software"],
        "study_sha256": result["study"]["sha256"],
    }
    return [_in_order({**common, **_slice_fields(item)}) for item in result["slices"]]


def row_of_failure(study_id: str, reason: str, settings: BatchSettings) -> Row:
    """The row of a study without a result."""
    fields = {"study": study_id, "state": FAILED, "reason": reason, "n_members": settings.n_members}
    return _in_order({**fields, **settings.identity()})


def _slice_fields(item: Mapping[str, Any]) -> Row:
    outlined = item["chosen"] is not None
    return {
        "slice": item["name"],
        "state": DONE if outlined else NO_OUTLINE,
        "reason": item["reason"],
        "chosen": item["chosen"],
        "u_pp": item["u_pp"],
        "u_tot": item["u_tot"],
        "area_mm2": item["area_mm2"] if outlined else None,
        "n_myo_native_px": item["n_myo_native_px"],
        "closed_ring": item["contours"]["closed_ring"],
        "n_pieces": item["contours"]["n_pieces"],
        "n_eligible": sum(member["eligible"] for member in item["members"]),
    }


def _in_order(fields: Row) -> Row:
    return {name: fields.get(name) for name in COLUMNS}
