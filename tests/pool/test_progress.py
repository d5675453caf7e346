import io

import pytest

from pool.progress import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_counts_and_estimates() -> None:
    bar = ProgressBar("sweeps", io.StringIO())
    assert bar.line() == "sweeps  0 s"
    bar(10, 40)
    assert bar.line().startswith("sweeps  [#######.......................] 10/40  0 s, ")
    bar(40, 40)
    assert bar.line() == f"sweeps  [{'#' * 30}] 40/40  0 s    "


def test_the_last_state_is_written() -> None:
    stream = Terminal()
    with ProgressBar("sweeps", stream) as bar:
        bar(1, 2)
    last = stream.getvalue().rsplit("\r", 1)[-1]
    assert last.startswith("sweeps  [###############...............] 1/2")
    assert last.endswith("\n")


def refused_at_once(stream: io.StringIO) -> None:
    with ProgressBar("sweeps", stream):
        raise KeyError


def test_what_is_refused_at_once_shows_no_progress() -> None:
    stream = io.StringIO()
    with pytest.raises(KeyError):
        refused_at_once(stream)
    assert stream.getvalue() == ""
