"""The rows of all studies as one table, in CSV and in Parquet: the same rows, in the same order, every time."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from pool.errors import OutputError
from serve.batch.rows import COLUMNS, Row
from serve.durable import replace_file

CSV_NAME, PARQUET_NAME = "results.csv", "results.parquet"


def write_table(rows: Sequence[Row], out_dir: Path) -> tuple[Path, Path]:
    """Write `results.csv` and `results.parquet`, each whole or not at all.

    Args:
        rows: see `serve.batch.rows`; in the order they are to have.
        out_dir: of the cohort's results.

    Raises:
        OutputError: they cannot be written.
    """
    paths = out_dir / CSV_NAME, out_dir / PARQUET_NAME
    try:
        for path, content in zip(paths, (_csv(rows), _parquet(rows))):
            replace_file(path, content, sync=True)
    except OSError as error:
        raise OutputError("table of the cohort", "must be writable", error.strerror or "") from error
    return paths


def _csv(rows: Sequence[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink)
    return sink.getvalue()
