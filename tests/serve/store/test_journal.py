"""A study's journal: whole lines in order, whatever was cut in half."""

from __future__ import annotations

from pathlib import Path

from serve.store import journal
from serve.store.journal import JOURNAL_NAME, Event


def test_lines_are_read_in_order_and_from_any_number_on(tmp_path: Path) -> None:
    journal.append(tmp_path, "started", attempt=1)
    journal.append(tmp_path, "answer", member="m0", u_pp=0.5)
    first, second = Event(1, "started", {"attempt": 1}), Event(2, "answer", {"member": "m0", "u_pp": 0.5})
    assert journal.read_after(tmp_path, 0) == [first, second]
    assert journal.read_after(tmp_path, 1) == [second]
    assert journal.read_after(tmp_path, 2) == []
    assert journal.read_after(tmp_path / "nowhere", 0) == []


def test_a_line_that_a_crash_cut_is_skipped_and_the_numbers_stay(tmp_path: Path) -> None:
    journal.append(tmp_path, "started")
    with (tmp_path / JOURNAL_NAME).open("ab") as file:
        file.write(b'{"event": "ans')
    assert [event.number for event in journal.read_after(tmp_path, 0)] == [1]
    for _ in range(2):
        journal.begin_line(tmp_path)
    journal.append(tmp_path, "started")
    assert [(event.number, event.kind) for event in journal.read_after(tmp_path, 0)] == [(1, "started"), (3, "started")]


def test_a_removed_study_keeps_no_journal(tmp_path: Path) -> None:
    journal.append(tmp_path / "gone", "answer")
    journal.begin_line(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []
