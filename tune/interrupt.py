"""SIGTERM, which job schedulers send, as Ctrl-C: Tune then stores where its trials are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
"""Of a command that was stopped: 128 and the signal's number, as shells have it."""


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[Callable[[], int]]:
    """Within the block SIGTERM raises `KeyboardInterrupt` as Ctrl-C does. Main thread only.

    Yields:
        Tells the exit code of a command that was stopped: 143 if by SIGTERM, else 130.
    """
    received = signal.SIGINT

    def on_sigterm(*_: object) -> None:
        nonlocal received
        received = signal.SIGTERM
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield lambda: EXIT_CODES[received]
    finally:
        signal.signal(signal.SIGTERM, before)
