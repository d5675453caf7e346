import io

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


def test_the_last_state_is_written_whatever_happens() -> None:
    stream = Terminal()
    try:
        with ProgressBar("sweeps", stream) as bar:
            bar(1, 2)
            raise KeyError
    except KeyError:
        pass
    last = stream.getvalue().rsplit("\r", 1)[-1]
    assert last.startswith("sweeps  [###############...............] 1/2")
    assert last.endswith("\n")
