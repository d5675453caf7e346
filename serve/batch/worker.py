"""One study after the other in one process, with the whole pool: nothing of Ray in here."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pool.analysis import analyse
from pool.errors import PoolError
from pool.member import Pool
from pool.results import check_study_output, write_results
from serve.batch.cohort import fingerprint
from serve.batch.ledger import Entry, Ledger
from serve.batch.neutral import open_neutrally
from serve.batch.rows import Row, row_of_failure, rows_of_result
from serve.batch.settings import BatchSettings
from serve.durable import sync_to_disk

_log = logging.getLogger(__name__)

MOST_ATTEMPTS = 3
"""A study that was begun so often in one run and took its process down each time has failed."""


class StudyWorker:
    """Analyses studies of a cohort, as `pool.analysis` does, and writes what came of each.

    Args:
        settings: of the cohort.
        run_id: of this run of the command.

    Raises:
        SettingsError, PoolFolderError: see `BatchSettings.check_node`, `Pool.load`.
    """

    def __init__(self, settings: BatchSettings, run_id: str) -> None:
        settings.check_node()
        self._settings, self._run_id = settings, run_id
        self._ledger = Ledger(settings.ledger_dir)
        self._pool = Pool.load(settings.pool_dir, settings.analysis.device)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """Ray Data's way to call: columns `study` and `path` in, column `study` out."""
        for study_id, path in zip(batch["study"], batch["path"], strict=True):
            self.work_on(str(study_id), Path(str(path)))
        return {"study": [str(study_id) for study_id in batch["study"]]}

    def work_on(self, study_id: str, path: Path) -> None:
        """Bring one study to its end and note it; raises only what ends the whole run.

        What may be otherwise next time (a full disk, a volume that is not there) is no end: it is left out of the
        ledger, and the next run takes it up.
        """
        with self._ledger.alone(study_id):
            if self._ledger.read(study_id) is None:
                self._work_on(study_id, path)

    def _work_on(self, study_id: str, path: Path) -> None:
        if not path.exists():
            _log.warning("study %s: not there, or not visible on this node", study_id)
            return
        of_bytes = fingerprint(path)
        if self._ledger.begin(study_id, self._run_id) >= MOST_ATTEMPTS:
            reason = f"took its process down {MOST_ATTEMPTS} times: out of memory, or killed"
            self._end(study_id, of_bytes, [row_of_failure(study_id, reason, self._settings)])
            return
        try:
            rows = self._rows(study_id, path)
        except PoolError as error:
            rows = [row_of_failure(study_id, str(error), self._settings)]
        except OSError as error:
            _log.warning("study %s: %s", study_id, type(error).__name__)
            return
        except Exception as error:  # its text may hold anything
            _log.error("study %s: %s", study_id, type(error).__name__)
            rows = [row_of_failure(study_id, f"an internal error ({type(error).__name__})", self._settings)]
        self._end(study_id, of_bytes, rows)

    def _rows(self, study_id: str, path: Path) -> list[Row]:
        folder = self._settings.studies_dir / study_id
        for leftover in self._settings.studies_dir.glob(f".{study_id}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        study = open_neutrally(path)
        if (earlier := _earlier_result(folder, self._settings, study.series.content_sha256())) is None:
            check_study_output(study.dicom)
            analysis = analyse(study.series, self._pool, self._settings.analysis)
            for file in write_results(analysis, folder, study.dicom):
                sync_to_disk(file)
            sync_to_disk(folder)
            earlier = json.loads((folder / "result.json").read_bytes())
        return rows_of_result(study_id, earlier)

    def _end(self, study_id: str, of_bytes: str, rows: list[Row]) -> None:
        self._ledger.write(Entry(study_id, of_bytes, tuple(rows)))


def _earlier_result(folder: Path, settings: BatchSettings, study_sha256: str) -> dict[str, Any] | None:
    """A result that a run wrote just before it was killed, if it is of these bytes, this pool and these settings."""
    try:
        result = dict(json.loads((folder / "result.json").read_bytes()))
        found = (result["study"]["sha256"], result["pool"]["sha256"], result["settings"]["sha256"], result["software"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    wanted = settings.identity()
    expected = (study_sha256, wanted["pool_sha256"], wanted["settings_sha256"], wanted["software"])
    return result if found == expected else None
