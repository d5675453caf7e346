"""The log on disk: whole groups or nothing, through full disks, torn lines and second processes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tune.errors import JournalError
from tune.tracking.entries import (
    Entry,
    FileLogged,
    Point,
    PoolRegistered,
    RunLogged,
    RunStarted,
    RunStatus,
    RunTagged,
)
from tune.tracking.history import History
from tune.tracking.journal import Journal

ONE_OF_EACH: list[Entry] = [
    RunStarted("pool", "a pool", 5, {"kind": "pool"}),
    RunStarted("seed-1", "seed-1", 5, {}, "pool"),
    RunLogged("seed-1", {"seed": "1"}, (Point("loss", 0.1 + 0.2, 2, 7),)),
    RunStarted("s1-e02", "s1-e02", 5, {}, "pool"),
    RunTagged("s1-e02", {"member": "true", "failure": None}),
    RunStatus("s1-e02", "FINISHED", 9),
    FileLogged("s1-e02", "x/y.png", "figures"),
    PoolRegistered("pool", ("a/b", "c/d"), "NAME", "champion"),
]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "log")
    yield journal
    journal.close()


def read(folder: Path) -> tuple[str, list[Entry]]:
    journal = Journal(folder)
    journal.close()
    return journal.training_id, list(journal.entries)


def test_what_was_appended_is_read_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(*ONE_OF_EACH[:3])
    journal.append(*ONE_OF_EACH[3:])
    journal.close()
    assert read(tmp_path) == (journal.training_id, ONE_OF_EACH)


def test_a_torn_last_line_is_as_if_it_had_never_been(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append(ONE_OF_EACH[0])
    n_whole = (tmp_path / "log.jsonl").stat().st_size
    journal.append(*ONE_OF_EACH[1:])
    journal.close()
    content = (tmp_path / "log.jsonl").read_bytes()
    for n_bytes in (n_whole + 1, len(content) - 1):
        (tmp_path / "log.jsonl").write_bytes(content[:n_bytes])
        assert read(tmp_path)[1] == ONE_OF_EACH[:1]
    (tmp_path / "log.jsonl").write_bytes(content[:10])
    assert read(tmp_path)[1] == []


def test_a_full_disk_leaves_no_half_group_and_later_ones_are_whole(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append(ONE_OF_EACH[0])
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            journal.append(*ONE_OF_EACH[1:3])
    assert list(journal.entries) == ONE_OF_EACH[:1]
    journal.append(ONE_OF_EACH[3])
    lines = [json.loads(line) for line in (tmp_path / "log" / "log.jsonl").read_text().splitlines()]
    assert [len(line.get("entries", [])) for line in lines] == [0, 1, 1]


def test_two_processes_cannot_write_one_log(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"must not be in use; found another process\. A training that runs sends"):
        Journal(tmp_path / "log")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": 2, "training_id": "a"}\n', "must have format 1; found 2"),
        ("hello\n", "must be the lines that a training wrote; found JSONDecodeError"),
        ('{"format": 1, "training_id": "a"}\n{"entries": [{"kind": "Gone"}]}\n', "missing or unknown fields"),
        ('{"format": 1, "training_id": "a"}\n{"entries": [{"kind": "RunStatus", "run": "a"}]}\n', "missing 2 required"),
    ],
)
def test_a_damaged_log_is_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(text)
    with pytest.raises(JournalError, match=words):
        Journal(tmp_path)


def test_kept_files_stay_when_the_original_goes(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "weights"
    source.write_bytes(b"weights")
    linked = journal.keep(source, "a.safetensors")

    def no_links(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    copied, made = journal.keep(source, "a.safetensors"), journal.keep(b"picture", "o.png")
    source.unlink()
    assert [(journal.files / file).read_bytes() for file in (linked, copied, made)] == [
        b"weights",
        b"weights",
        b"picture",
    ]
    for file in (linked, copied, made):
        journal.drop(file)
    assert not list(journal.files.iterdir())


def test_the_history_says_what_is_open_and_what_was_logged() -> None:
    history = History(ONE_OF_EACH)
    assert history.runs == ("pool", "seed-1", "s1-e02")
    assert history.open_runs == ("seed-1", "pool")
    assert history.members == {"s1-e02"}
    assert history.epoch_times_ms == {(1, 2): 7}
    history.add(RunTagged("s1-e02", {"member": "false"}))
    history.add(RunStatus("pool", "FINISHED", 9))
    assert (history.members, history.open_runs) == (set(), ("seed-1",))
