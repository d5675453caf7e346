"""Storage that is no folder of this machine: URIs, and a file system that only pyarrow can reach."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
from pathlib import Path

import pytest
from pyarrow.fs import FileSystem, LocalFileSystem, SubTreeFileSystem

from pool.errors import OutputError, SettingsError
from pool.manifest import verify_pool
from tests.tune.ray_nodes import wait_until
from tune.record import refuse_another_training, save_record
from tune.run import train_pool
from tune.settings import TrainingSettings
from tune.storage import EXPERIMENT_FOLDER, JOB_VARIABLE, RECORD_NAME, Storage, refuse_unusable_places
from tune.tune_state import KEPT_FOLDER, has_trials, kept_state


def bucket(folder: Path) -> Storage:
    """A file system that is not the local one, in a folder of it."""
    folder.mkdir()
    return Storage(SubTreeFileSystem(str(folder), LocalFileSystem()), "team/first")


def mock() -> Storage:
    filesystem, path = FileSystem.from_uri("mock:///team/first")
    return Storage(filesystem, path)


@pytest.mark.parametrize("place", ["path", "file-uri", "bucket", "mock"])
def test_a_record_is_the_same_wherever_it_lies(place: str, tmp_path: Path) -> None:
    at = {
        "path": lambda: Storage.at(tmp_path / "team" / "first"),
        "file-uri": lambda: Storage.at((tmp_path / "team" / "first").as_uri()),
        "bucket": lambda: bucket(tmp_path / "bucket"),
        "mock": mock,
    }
    storage = at[place]()
    assert (storage.local is None) == (place in ("bucket", "mock"))
    assert storage.name == "first"
    with pytest.raises(SettingsError, match="storage folder first: must hold the training to resume; found no train"):
        refuse_unusable_places(tmp_path / "pool", storage, resume=True)
    save_record(storage, {"settings": {"seeds": [1]}})
    save_record(storage, {"settings": {"seeds": [1, 2]}})
    assert storage.names() == [RECORD_NAME]
    refuse_unusable_places(tmp_path / "pool", storage, resume=True)
    refuse_another_training(storage, {"settings": {"seeds": [1, 2]}})
    with pytest.raises(SettingsError, match=re.escape("found seeds [1] instead of [1, 2].")):
        refuse_another_training(storage, {"settings": {"seeds": [1]}})
    storage.folder(EXPERIMENT_FOLDER).write_text("tuner.pkl", "")
    with pytest.raises(OutputError, match=r"storage folder first: must not hold another training; found one\."):
        refuse_unusable_places(tmp_path / "pool", storage, resume=False)
    assert storage.names() == [EXPERIMENT_FOLDER, RECORD_NAME]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("ftp://host/folder", "must be a path or a URI such as s3://bucket/folder"),
        ("file:///", "storage: must name a folder, not a whole file system; found file://."),
    ],
)
def test_a_uri_that_is_none_is_refused(place: str, text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(text)):
        Storage.at(place)


def test_a_bucket_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "bucket").write_text("a file in its place")
    storage = Storage(SubTreeFileSystem(str(tmp_path / "bucket"), LocalFileSystem()), "team/first")
    with pytest.raises(OutputError, match="storage folder first: must be writable; found .*Not a directory"):
        refuse_unusable_places(tmp_path / "pool", storage, resume=False)


def test_relative_places_of_a_submitted_job_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(JOB_VARIABLE, "{}")
    text = "must be an absolute path in a submitted job; found a relative one. Ray deletes the job's working directory"
    with pytest.raises(OutputError, match=f"pool folder pool: {text}"):
        refuse_unusable_places(Path("pool"), None, resume=False)
    with pytest.raises(OutputError, match=f"storage folder kept: {text}"):
        refuse_unusable_places(tmp_path / "pool", "kept", resume=False)
    refuse_unusable_places(tmp_path / "pool", tmp_path.as_uri(), resume=False)


@pytest.mark.usefixtures("local_ray")
def test_a_training_and_its_resume_through_a_file_system_of_pyarrow(
    data: Path, tiny: TrainingSettings, tmp_path: Path
) -> None:
    storage = bucket(tmp_path / "bucket")
    one_seed = dataclasses.replace(tiny, seeds=(1,), n_checkpoints=1)
    first = train_pool(one_seed, data, tmp_path / "first", storage_path=storage)
    again = train_pool(
        dataclasses.replace(one_seed, n_checkpoints=2), data, tmp_path / "again", storage_path=storage, resume=True
    )
    assert verify_pool(tmp_path / "first") == first
    assert len(again.members) == 2
    assert set(first.members) <= set(again.members)
    assert {path.name for path in (tmp_path / "bucket" / "team" / "first").iterdir()} == {"seeds", RECORD_NAME}


STATES = {
    "experiment_state-2.json": b'{"trial_data": []}',
    "basic-variant-state-2.json": pickle.dumps({"trials": list(range(300))}),
    "tuner.pkl": b"any",
}


@pytest.mark.parametrize("name", ["experiment_state-2.json", "basic-variant-state-2.json"])
def test_a_state_that_a_kill_cut_in_half_is_taken_from_its_copy(name: str, tmp_path: Path) -> None:
    experiment = Storage.at(tmp_path)
    for each, data in STATES.items():
        experiment.write_bytes(each, data)
        experiment.folder(KEPT_FOLDER).write_bytes(each, data)
    assert has_trials(experiment)
    (tmp_path / name).write_bytes(STATES[name][:-1])
    assert has_trials(experiment)
    assert {each: experiment.read_bytes(each) for each in STATES} == STATES


@pytest.mark.parametrize("name", ["experiment_state-2.json", "basic-variant-state-2.json"])
def test_without_a_copy_the_start_before_is_taken_and_then_none(name: str, tmp_path: Path) -> None:
    experiment = Storage.at(tmp_path)
    assert not has_trials(experiment)
    for each, data in STATES.items():
        experiment.write_bytes(each, data)
        experiment.write_bytes(each.replace("2", "1"), data)
    (tmp_path / name).write_bytes(b"")
    assert has_trials(experiment)
    assert "experiment_state-2.json" not in experiment.names()
    assert "experiment_state-1.json" in experiment.names()
    (tmp_path / name.replace("2", "1")).write_bytes(STATES[name][:-1])
    assert not has_trials(experiment)


def test_copies_are_whole_and_those_of_the_latest_state(tmp_path: Path) -> None:
    experiment, copies = Storage.at(tmp_path), Storage.at(tmp_path / KEPT_FOLDER)
    with kept_state(experiment):
        for n in (1, 2):
            (tmp_path / "experiment_state-2.json").write_text(json.dumps({"n": n}))
            wait_until(
                "the state is copied",
                lambda n=n: copies.names() and json.loads(copies.read_text("experiment_state-2.json")) == {"n": n},
            )
        (tmp_path / "experiment_state-2.json").write_text('{"n": 3')
        search = "basic-variant-state-3.json"
        (tmp_path / search).write_bytes(STATES["basic-variant-state-2.json"])
        wait_until("the other state is copied", lambda: search in copies.names())
        assert json.loads(copies.read_text("experiment_state-2.json")) == {"n": 2}
    assert copies.read_bytes(search) == STATES["basic-variant-state-2.json"]
