"""One worker, without Ray: the bytes of `pool.analysis`, reasons without names, and what is done only once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pool.analysis import AnalysisSettings, analyse
from pool.errors import PoolFolderError, SettingsError
from pool.inputs import open_study
from pool.member import Pool
from pool.results import maps_npz, result_json
from serve.batch.cohort import CohortStudy, fingerprint, with_pseudonyms
from serve.batch.ledger import Ledger
from serve.batch.rows import COLUMNS
from serve.batch.settings import BatchSettings
from serve.batch.table import write_table
from serve.batch.worker import MOST_ATTEMPTS, StudyWorker
from tests.pool.dicom.dicom_samples import classic, write
from tests.samples import bolus_series, tiny_pool, write_npz
from tests.serve.batch.cohorts import FAST, PATIENTS, cohort_of, settings_in, texts_below


@pytest.fixture
def settings(tmp_path: Path) -> BatchSettings:
    return settings_in(tmp_path)


@pytest.fixture
def cohort(tmp_path: Path, settings: BatchSettings) -> dict[str, CohortStudy]:
    folder = cohort_of(tmp_path / "cohort")
    studies = with_pseudonyms(folder, sorted(path.name for path in folder.iterdir()), settings.out_dir)
    return {study.place.removesuffix(".npz"): study for study in studies}


def entry_of(settings: BatchSettings, study: CohortStudy) -> Any:
    entry = Ledger(settings.ledger_dir).read(study.id)
    assert entry is not None
    return entry


def test_results_are_the_bytes_of_one_process_and_rows_are_theirs(
    settings: BatchSettings, cohort: dict[str, CohortStudy]
) -> None:
    study = cohort["DOE_JANE"]
    worker = StudyWorker(settings, "run")
    assert worker({"study": [study.id], "path": [str(study.path)]}) == {"study": [study.id]}
    expected = analyse(open_study(study.path).series, Pool.load(settings.pool_dir), FAST)
    folder = settings.studies_dir / study.id
    assert (folder / "result.json").read_bytes() == result_json(expected)
    assert (folder / "maps.npz").read_bytes() == maps_npz(expected)
    entry = entry_of(settings, study)
    result = json.loads(result_json(expected))
    (row,) = entry.rows
    assert list(row) == list(COLUMNS)
    of_slice = result["slices"][0]
    for name in ("chosen", "u_pp", "u_tot", "area_mm2", "n_myo_native_px", "reason"):
        assert row[name] == of_slice[name], name
    assert (row["study"], row["slice"], row["state"]) == (study.id, of_slice["name"], "done")
    assert (row["pool"], row["pool_sha256"]) == ("tiny", expected.manifest.sha256())
    assert (row["settings_sha256"], row["software"]) == (FAST.sha256(), expected.software)
    assert (row["n_eligible"], row["n_members"], row["rule"]) == (2, 2, "min-u_pp")
    assert (row["study_sha256"], entry.fingerprint) == (result["study"]["sha256"], fingerprint(study.path))


def test_a_failure_is_a_row_with_a_reason_that_names_nobody(
    settings: BatchSettings, cohort: dict[str, CohortStudy]
) -> None:
    worker = StudyWorker(settings, "run")
    (cohort["DOE_JANE"].path.parent / "EMPTY_ELSE").mkdir()
    of_empty = CohortStudy("s-empty", "EMPTY_ELSE", cohort["DOE_JANE"].path.parent / "EMPTY_ELSE")
    for study in (cohort["BROKEN_BOB"], of_empty):
        worker.work_on(study.id, study.path)
        (row,) = entry_of(settings, study).rows
        assert (row["state"], row["slice"], row["pool"], row["settings_sha256"]) == (
            "failed",
            None,
            "tiny",
            FAST.sha256(),
        )
        assert entry_of(settings, study).failure == row["reason"]
        assert "found BadZipFile" in row["reason"] or "found an empty folder" in row["reason"]
    write_table(
        [row for study in cohort.values() if (e := Ledger(settings.ledger_dir).read(study.id)) for row in e.rows],
        settings.out_dir,
    )
    written = texts_below(settings.out_dir)
    assert {"results.csv", "results.parquet", "s-empty.json"} <= set(written)
    for name, content in written.items():
        for patient in (*PATIENTS, "BROKEN", "BOB", "EMPTY_ELSE"):
            assert patient.encode() not in content, name
            assert patient not in name


def test_a_dicom_folders_error_names_its_files_by_number(settings: BatchSettings, tmp_path: Path) -> None:
    folder = tmp_path / "SMITH_JOHN"
    files = [write(folder / f"SMITH_{t}.dcm", classic(0, t)) for t in range(10)]
    files[3].write_bytes(files[3].read_bytes()[:-100])
    StudyWorker(settings, "run").work_on("s-x", folder)
    entry = Ledger(settings.ledger_dir).read("s-x")
    assert entry is not None
    assert "00003.dcm" in entry.failure
    assert "SMITH" not in entry.failure


def test_a_result_written_just_before_a_kill_is_not_computed_again(
    settings: BatchSettings, cohort: dict[str, CohortStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = cohort["SMITH_JOHN"]
    worker = StudyWorker(settings, "run")
    worker.work_on(study.id, study.path)
    before = entry_of(settings, study)
    (settings.ledger_dir / f"{study.id}.json").unlink()  # as if the kill had come between result and entry
    monkeypatch.setattr("serve.batch.worker.analyse", lambda *_: pytest.fail("analysed again"))
    worker.work_on(study.id, study.path)
    assert entry_of(settings, study) == before
    worker.work_on(study.id, study.path)  # nor is what is in the ledger
    Ledger(settings.ledger_dir).forget(study.id)
    write_npz(study.path, bolus_series(1, n_frames=20))  # other bytes under the same name are another study
    with pytest.raises(pytest.fail.Exception, match="analysed again"):
        worker.work_on(study.id, study.path)


def test_a_study_that_takes_its_process_down_again_and_again_fails_and_a_new_run_tries_anew(
    settings: BatchSettings, cohort: dict[str, CohortStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = cohort["SMITH_JOHN"]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt  # not an Exception: nothing is noted, as with SIGKILL

    with monkeypatch.context() as patched:
        patched.setattr("serve.batch.worker.analyse", killed)
        for _ in range(MOST_ATTEMPTS):
            with pytest.raises(KeyboardInterrupt):
                StudyWorker(settings, "first").work_on(study.id, study.path)
        assert Ledger(settings.ledger_dir).read(study.id) is None
        StudyWorker(settings, "first").work_on(study.id, study.path)
    assert entry_of(settings, study).failure == "took its process down 3 times: out of memory, or killed"
    Ledger(settings.ledger_dir).forget(study.id)
    StudyWorker(settings, "second").work_on(study.id, study.path)
    assert entry_of(settings, study).failure == ""


def test_what_may_pass_is_no_end(
    settings: BatchSettings, cohort: dict[str, CohortStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = StudyWorker(settings, "run")
    worker.work_on("s-gone", cohort["DOE_JANE"].path.parent / "gone.npz")

    def unplugged(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("serve.batch.worker.analyse", unplugged)
    worker.work_on(cohort["DOE_JANE"].id, cohort["DOE_JANE"].path)
    ledger = Ledger(settings.ledger_dir)
    assert ledger.read("s-gone") is ledger.read(cohort["DOE_JANE"].id) is None


def test_another_pool_other_settings_or_an_unseen_folder_are_refused(settings: BatchSettings, tmp_path: Path) -> None:
    other = AnalysisSettings(sweep=FAST.sweep, rule="min-u_tot")
    with pytest.raises(SettingsError, match=r"--out, rule of the results in it: must be that of this run, min-u_tot"):
        settings_in(tmp_path, other)
    tiny_pool(settings.pool_dir, 1)
    with pytest.raises(PoolFolderError, match="must be the same on every node; found another manifest"):
        StudyWorker(settings, "run")
    (settings.out_dir / "batch.json").unlink()
    with pytest.raises(SettingsError, match="every node sees at the same path; found FileNotFoundError on one"):
        StudyWorker(settings, "run")
