"""The command on a real local Ray: a killed driver, a killed worker, and nothing done twice."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from pool.analysis import analyse
from pool.errors import SettingsError
from pool.inputs import open_study
from pool.member import Pool
from pool.results import result_json
from serve.__main__ import app
from serve.batch.cohort import CohortStudy
from serve.batch.run import Workers, run_studies
from serve.batch.settings import BatchSettings
from serve.batch.worker import StudyWorker
from serve.settings import ServiceSettings
from tests.samples import bolus_series, tiny_pool, write_npz
from tests.serve.batch.cohorts import PATIENTS, cohort_of, settings_in

ROOT = Path(__file__).parents[3]
MOST_WAITING_S = 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`cohort/` of three studies and one that is none, `pool/`."""
    cohort_of(tmp_path / "cohort")
    tiny_pool(tmp_path / "pool", 2)
    return tmp_path


def command(folder: Path) -> list[str]:
    return ["batch", str(folder / "cohort"), "--out", str(folder / "out"), "--pool", str(folder / "pool")]


def ended(folder: Path) -> dict[Path, int]:
    """Entries of the ledger with the moment each was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "out" / "ledger").glob("s-*.json")}


@pytest.mark.usefixtures("local_ray")
def test_a_killed_run_goes_on_and_repeats_nothing(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "serve", *command(folder), "--workers", "1"]
    with (folder / "log").open("w") as log:
        driver = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log)
        for _ in seconds():
            if ended(folder):
                break
        driver.kill()
        driver.wait()
    before = ended(folder)
    assert before
    assert not (folder / "out" / "results.csv").exists()

    done = CliRunner().invoke(app, command(folder))
    assert done.exit_code == 3, done.output  # BROKEN_BOB
    kept = re.search(r"4 studies, (\d) of them analysed before", done.output)
    assert kept is not None
    assert len(before) <= int(kept[1]) < 4  # a worker outlives its driver by what it takes to notice
    assert re.search(r"s-[0-9a-f]{12} failed: file 00000.npz: must be a whole, readable .npz file", done.output)
    after = ended(folder)
    assert len(after) == 4
    assert {path: after[path] for path in before} == before
    assert not any(patient in done.output + (folder / "log").read_text() for patient in (*PATIENTS, "BROKEN"))

    with (folder / "out" / "key.csv").open(newline="") as file:
        key = {row["place"]: row["study"] for row in csv.DictReader(file)}
    settings = ServiceSettings(pool_dir=folder / "pool").analysis
    pool = Pool.load(folder / "pool")
    for patient in PATIENTS:
        expected = result_json(analyse(open_study(folder / "cohort" / f"{patient}.npz").series, pool, settings))
        assert (folder / "out" / "studies" / key[f"{patient}.npz"] / "result.json").read_bytes() == expected
    table = parquet.read_table(folder / "out" / "results.parquet").to_pylist()
    assert [row["study"] for row in table] == sorted(key.values())
    assert sorted(row["state"] for row in table) == ["done", "done", "done", "failed"]

    again = CliRunner().invoke(app, command(folder))
    assert "4 studies, 4 of them analysed before" in again.output
    assert ended(folder) == after


@pytest.mark.usefixtures("local_ray")
def test_a_workers_death_costs_no_study(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    folder = cohort_of(tmp_path / "cohort")
    studies = [CohortStudy(f"s-{patient[:3]}", patient, folder / f"{patient}.npz") for patient in PATIENTS]
    killed: list[int] = []
    had_their_turn: list[str] = []

    def kill_once(study_id: str) -> None:
        had_their_turn.append(study_id)
        if not killed:
            (worker,) = workers_of_this_ray()
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)

    run_studies(studies, settings, Workers(n_most=1), 600.0, kill_once)
    assert len(killed) == 1
    assert sorted(had_their_turn) == sorted(study.id for study in studies)
    assert sorted(path.name for path in settings.studies_dir.iterdir()) == sorted(study.id for study in studies)


@pytest.mark.usefixtures("local_ray")
def test_a_node_that_does_not_see_the_folder_is_refused_in_words(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    (settings.out_dir / "batch.json").unlink()
    studies = [CohortStudy("s-1", "P", cohort_of(tmp_path / "cohort") / "SMITH_JOHN.npz")]
    with pytest.raises(SettingsError, match="must be a folder that every node sees at the same path"):
        run_studies(studies, settings, Workers(n_most=1), 600.0, lambda _: None)


def test_an_interrupted_run_leaves_the_table_of_what_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_then_ctrl_c(studies: Sequence[CohortStudy], settings: BatchSettings, *_: object) -> None:
        StudyWorker(settings, "run").work_on(studies[0].id, studies[0].path)
        raise KeyboardInterrupt

    monkeypatch.setattr("serve.batch.command.ray_at", lambda _: nullcontext())
    monkeypatch.setattr("serve.batch.command.run_studies", one_then_ctrl_c)
    done = CliRunner().invoke(app, command(folder))
    assert (done.exit_code, "the same command goes on from here" in done.output) == (130, True)
    assert "1 of 4 studies ended" in done.output
    assert parquet.read_table(folder / "out" / "results.parquet").num_rows == 1

    monkeypatch.setattr("serve.batch.command.run_studies", lambda *_: None)  # three had their turn without an end
    done = CliRunner().invoke(app, command(folder))
    assert done.exit_code == 3
    assert CliRunner().invoke(app, [*command(folder), "--exit-zero"]).exit_code == 0
    assert done.output.count("its worker or its volume was lost; run the same command again") == 3
    assert parquet.read_table(folder / "out" / "results.parquet").num_rows == 4


def test_failed_studies_and_changed_ones_are_taken_up_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def in_this_process(studies: Sequence[CohortStudy], settings: BatchSettings, *_: object) -> None:
        begun[:] = [study.place for study in studies]
        worker = StudyWorker(settings, "run")
        for study in studies:
            worker.work_on(study.id, study.path)

    monkeypatch.setattr("serve.batch.command.ray_at", lambda _: nullcontext())
    monkeypatch.setattr("serve.batch.command.run_studies", in_this_process)
    for extra, expected in (([], 4), ([], 0), (["--retry-failed"], 1)):
        begun.clear()
        assert CliRunner().invoke(app, [*command(folder), *extra]).exit_code == 3
        assert len(begun) == expected
    assert begun == ["BROKEN_BOB.npz"]
    write_npz(folder / "cohort" / "BROKEN_BOB.npz", bolus_series(1, n_frames=18))
    done = CliRunner().invoke(app, command(folder))
    assert (done.exit_code, begun) == (0, ["BROKEN_BOB.npz"]), done.output


def test_workers_fit_on_whole_nodes_and_devices() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 3.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}},
    ]
    assert Workers(cpus_each=2).fitting(nodes, 1000) == 4 + 1
    assert Workers(gpus_each=0.4).fitting(nodes, 1000) == 4 + 2
    assert Workers(gpus_each=2).fitting(nodes, 1000) == 1
    assert Workers(n_most=3).fitting(nodes, 1000) == 3
    assert Workers().fitting(nodes, 2) == 2
    with pytest.raises(SettingsError, match=r"a worker's 1 CPU and 4 GPU must exist on one node; found none"):
        Workers(gpus_each=4).fitting(nodes, 1000)
    for wrong, words in (
        ({"n_most": 0}, "--workers must be at least 1"),
        ({"gpus_each": 1.5}, "above 1 must be whole"),
    ):
        with pytest.raises(SettingsError, match=words):
            Workers(**wrong)


def seconds() -> Iterator[None]:
    """Short waits for an event, up to a bound that only a hang reaches."""
    end = time.monotonic() + MOST_WAITING_S
    while time.monotonic() < end:
        yield
        time.sleep(0.05)
    pytest.fail("the event did not come")


def workers_of_this_ray() -> list[int]:
    """Processes of `StudyWorker` below the Ray that this process is connected to; not those of another test run."""
    import ray

    session = ray._private.worker._global_node.session_name
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
            parent = re.search(r"^PPid:\s+(\d+)", (folder / "status").read_text(), re.MULTILINE)
            of_parent = Path(f"/proc/{parent[1]}/cmdline").read_bytes() if parent else b""
        except OSError:
            continue
        if b"StudyWorker" in title and session.encode() in of_parent:
            found.append(int(folder.name))
    return found
