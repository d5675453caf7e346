"""Labelled sets of small slices: whole or not at all, and nothing that contradicts itself is opened."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pool.errors import OutputError, PoolError, SettingsError
from pool.labelled_set import LabelledSet, SliceEntry
from pool.labelled_set_writer import LabelledSetWriter
from pool.shapes import CLASS_NAMES

SHAPE = (3, 8, 8)
SPLIT = {"a": "training", "b": "validation"}


def arrays(n: int, value: float = 0.5, label: int = 1) -> tuple[np.ndarray, np.ndarray]:
    return np.full((n, *SHAPE), value, np.float32), np.full((n, *SHAPE[1:]), label, np.int64)


def entries(subject: str, n: int) -> list[SliceEntry]:
    return [SliceEntry(subject, f"{subject}/{i}", "mid" if i else None) for i in range(n)]


def two_subjects(folder: Path, split: dict[str, str] | None = None, **facts: Any) -> LabelledSet:
    """Shards of 3 and 1 slices."""
    with LabelledSetWriter(folder, CLASS_NAMES[:2], shard_size=3) as writer:
        writer.add(*arrays(2), entries("a", 2))
        writer.add(*arrays(1, 0.25, 0), entries("b", 1))
        writer.add(*arrays(1, 0.75), [SliceEntry("b", "b/last")])
        return writer.finish(split, facts)


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_slices_come_back_with_subject_level_name_and_split(tmp_path: Path) -> None:
    made = two_subjects(tmp_path / "set", SPLIT, made_for="a test")
    assert [len(shard) for shard in made.frames] == [3, 1]
    assert isinstance(made.frames[0], np.memmap)
    assert made.frames[0].dtype == np.float16
    assert [(float(made[i][0].mean()), int(made[i][1].max())) for i in range(4)] == [
        (0.5, 1),
        (0.5, 1),
        (0.25, 0),
        (0.75, 1),
    ]
    assert made.subject_ids == ("a", "a", "b", "b")
    assert made.level_names == (None, "mid", None, None)
    assert made.entries[3].name == "b/last"
    assert made.split == SPLIT
    assert made.class_names == ("background", "myocardium")
    assert made.manifest["origin"] == {"made_for": "a test"}
    assert LabelledSet.open(made.folder, verify=True).content_sha256() == made.content_sha256()


def test_the_hash_of_the_content_knows_the_split(tmp_path: Path) -> None:
    hashes = {two_subjects(tmp_path / name, split).content_sha256() for name, split in (("1", SPLIT), ("2", None))}
    assert len(hashes) == 2


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save, n_saved = np.save, 0

    def full(path: Path, array: np.ndarray) -> None:
        nonlocal n_saved
        n_saved += 1
        if n_saved == 3:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array)

    monkeypatch.setattr("pool.labelled_set_writer.np.save", full)
    with pytest.raises(OutputError, match="folder set: must be writable, with room for the set; found No space left"):
        two_subjects(tmp_path / "set")
    assert n_saved == 3
    assert list(tmp_path.iterdir()) == []


def test_a_block_left_without_finish_leaves_nothing_and_foreign_files_alone(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with LabelledSetWriter(tmp_path / "set", shard_size=1) as writer:
        writer.add(*arrays(1), entries("a", 1))
        assert (tmp_path / "set" / "shard-00000.frames.npy").is_file()
    assert list((tmp_path / "set").iterdir()) == []
    (tmp_path / "set" / "note.txt").touch()
    with pytest.raises(OutputError, match="folder set: must be new or empty"):
        LabelledSetWriter(tmp_path / "set")
    assert (tmp_path / "set" / "note.txt").is_file()


@pytest.mark.parametrize(
    ("frames", "labels", "names", "text"),
    [
        (arrays(1)[0], arrays(1, label=3)[1], "a", "labels lie from 0 to 2; found 3 to 3."),
        (arrays(1)[0], arrays(2)[1], "a", r"labels of these slices must have shape \(1, 8, 8\); found \(2, 8, 8\)."),
        (arrays(1)[0][..., :4], arrays(1)[1], "a", r"labels of these slices must have shape \(1, 8, 4\)"),
        (arrays(2)[0], arrays(2)[1], "aa", "names of slices must differ; found one twice."),
    ],
)
def test_slices_that_do_not_belong_together_are_refused(
    tmp_path: Path, frames: np.ndarray, labels: np.ndarray, names: str, text: str
) -> None:
    with pytest.raises(SettingsError, match=text), LabelledSetWriter(tmp_path / "set") as writer:
        writer.add(frames, labels, [SliceEntry(name, name) for name in names])
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"a": "training"}, "split: needs a side for every subject; found none for 1 of 2."),
        ({"a": "training", "b": "training"}, "split: needs at least one validation subject; found none."),
        ({"a": "training", "b": "test"}, "split: sides are training and validation; found test."),
    ],
)
def test_a_split_has_two_sides_and_every_subject_is_on_one(tmp_path: Path, split: dict[str, str], text: str) -> None:
    with pytest.raises(PoolError, match=text):
        two_subjects(tmp_path / "set", split)
    assert not (tmp_path / "set").exists()


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(SettingsError, match="labelled set: needs at least one slice; found none."),
        LabelledSetWriter(tmp_path / "set") as writer,
    ):
        writer.finish()


def test_damaged_sets_are_refused(tmp_path: Path) -> None:
    folder = two_subjects(tmp_path / "set").folder
    whole = json.loads((folder / "manifest.json").read_text())
    for changes, text in (
        ({"format": 1}, "folder set: must have format 2; found 1. Make the set again, in another folder."),
        ({"slices": {"subject": ["a"], "name": ["a"], "level": [None]}}, "set set: needs 4 rows of slices; found 1."),
        ({"slices": {}}, "manifest of set: must have the fields of a labelled set; found KeyError."),
        ({"shards": []}, "must have the fields of a labelled set; found IndexError."),
        ({"shape": [3, 9, 9]}, r"must hold float16 \(3, 3, 9, 9\); found float16 \(3, 3, 8, 8\)."),
    ):
        edit(folder, **changes)
        with pytest.raises(PoolError, match=text):
            LabelledSet.open(folder)
        edit(folder, **whole)
    shard = folder / "shard-00001.labels.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    LabelledSet.open(folder)
    with pytest.raises(PoolError, match="shard shard-00001.labels.npy: must have the SHA-256 of the manifest"):
        LabelledSet.open(folder, verify=True)
    shard.write_bytes(content[:-70])
    with pytest.raises(PoolError, match="must be a whole .npy file; found ValueError."):
        LabelledSet.open(folder)
    shard.unlink()
    with pytest.raises(PoolError, match="is named in the manifest and must exist; found no such file."):
        LabelledSet.open(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(PoolError, match="manifest of set: must be readable JSON; found JSONDecodeError."):
        LabelledSet.open(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(PoolError, match="a labelled set has a manifest.json; found none. Was writing interrupted?"):
        LabelledSet.open(folder)
