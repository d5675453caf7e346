"""A progress bar on standard error that never stays silent: also while nothing can be counted yet, also in a log file.

Standard library only, because it is used where only torch, numpy, scipy and safetensors are installed.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

TERMINAL_EVERY_S, LOG_EVERY_S = 0.2, 4.0
"""Time between two signs of life [s]: on a terminal, where one line is rewritten, and in a log, a line each."""
BAR_CHARACTERS = 30


class ProgressBar:
    """Context manager; call it with (number done, number in total), from any thread, as often as you like.

    Args:
        title: what is waited for.
        stream: where to write; default standard error.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self._title, self._stream = title, stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._n_done = self._n_total = 0
        self._started_s = time.monotonic()
        self._started_writing = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_lines, daemon=True)

    def __enter__(self) -> ProgressBar:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None or self._started_writing:  # what is refused at once needs no progress beside its sentence
            print(self.line(), file=self._stream, flush=True)

    def __call__(self, n_done: int, n_total: int) -> None:
        """Take up the latest count."""
        self._n_done, self._n_total = n_done, n_total

    def line(self) -> str:
        """The bar as one line: title, bar, count, elapsed time and time left, as far as they are known."""
        elapsed_s = time.monotonic() - self._started_s
        start = "\r" if self._terminal else ""
        if not self._n_total:
            return f"{start}{self._title}  {elapsed_s:.0f} s"
        n_full = BAR_CHARACTERS * self._n_done // self._n_total
        bar = "#" * n_full + "." * (BAR_CHARACTERS - n_full)
        n_left = self._n_total - self._n_done
        left = f", {elapsed_s / self._n_done * n_left:.0f} s left" if self._n_done and n_left else ""
        return f"{start}{self._title}  [{bar}] {self._n_done}/{self._n_total}  {elapsed_s:.0f} s{left}    "

    def _write_lines(self) -> None:
        while not self._stop.wait(TERMINAL_EVERY_S if self._terminal else LOG_EVERY_S):
            self._started_writing = True
            print(self.line(), end="" if self._terminal else "\n", file=self._stream, flush=True)
