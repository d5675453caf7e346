"""The table's two forms hold the same, and always in the same bytes."""

from __future__ import annotations

import csv
from pathlib import Path

from pyarrow import parquet

from serve.batch.rows import COLUMNS, row_of_failure, rows_of_result
from serve.batch.table import write_table
from tests.serve.batch.cohorts import settings_in

MEMBERS = [{"eligible": True}, {"eligible": False}]
SLICES = [
    {
        "name": "base",
        "chosen": "m1",
        "reason": "least u_pp of 1 eligible members",
        "u_pp": 0.1 + 0.2,
        "u_tot": 3.5,
        "n_myo_native_px": 300,
        "area_mm2": 1083.0,
        "contours": {"closed_ring": True, "n_pieces": 1},
        "members": MEMBERS,
    },
    {
        "name": "apex",
        "chosen": None,
        "reason": "none of 2 members is eligible",
        "u_pp": None,
        "u_tot": None,
        "n_myo_native_px": 0,
        "area_mm2": 0.0,
        "contours": {"closed_ring": False, "n_pieces": 0},
        "members": MEMBERS,
    },
]
RESULT = {
    "settings": {"rule": "min-u_pp", "sha256": "s"},
    "pool": {"name": "p", "sha256": "h", "n_members": 2},
    "software": "perfusion-pool 1",
    "study": {"sha256": "c"},
    "slices": SLICES,
}


def test_csv_and_parquet_hold_the_same_rows(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    rows = [*rows_of_result("s-1", RESULT), row_of_failure("s-2", 'slice "2": too short, sadly', settings)]
    as_csv, as_parquet = write_table(rows, tmp_path)
    table = parquet.read_table(as_parquet)
    assert table.column_names == list(COLUMNS)
    assert table.to_pylist() == rows
    with as_csv.open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["state"] for row in read] == ["done", "no outline", "failed"]
    assert float(read[0]["u_pp"]) == 0.1 + 0.2
    assert (read[1]["u_pp"], read[1]["area_mm2"], read[1]["chosen"]) == ("", "", "")
    assert read[2]["reason"] == 'slice "2": too short, sadly'
    before = [path.read_bytes() for path in (as_csv, as_parquet)]
    assert [path.read_bytes() for path in write_table(rows, tmp_path)] == before


def test_a_cohort_of_failures_alone_still_has_a_table_of_the_same_kind(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    for rows in ([row_of_failure("s-2", "empty", settings)], []):
        _, as_parquet = write_table(rows, tmp_path)
        table = parquet.read_table(as_parquet)
        assert (table.num_rows, str(table.schema.field("u_pp").type)) == (len(rows), "double")
