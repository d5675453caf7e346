"""A thread that sends the journal while training goes on, and tries again where MLflow cannot be reached."""

from __future__ import annotations

import logging
import threading

from tune.tracking.sender import Sender

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 120.0
"""Wait after a failure [s]; doubled with every further one."""
_log = logging.getLogger("tune.tracking")


class Delivery:
    """Sends in the background; nothing that happens here reaches the training.

    Args:
        sender: of the journal.
    """

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._changed = threading.Condition()
        self._news = self._stopping = False
        # A daemon, so that a server that hangs does not keep the program alive: the journal has everything.
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There are new entries."""
        with self._changed:
            self._news = True
            self._changed.notify()

    def finish(self) -> None:
        """Send what is left and stop; what fails now is left. Ctrl-C ends the wait."""
        with self._changed:
            self._stopping = self._news = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            with self._changed:
                if pause_s:
                    self._changed.wait_for(lambda: self._stopping, pause_s)
                else:
                    self._changed.wait_for(lambda: self._news)
                stopping, self._news = self._stopping, False
            n_left = self._sender.n_left
            try:
                self._sender.send()
            except Exception as error:
                if not pause_s:
                    text = (
                        "MLflow could not be written to (%s); training goes on, what it logs is kept to be sent later."
                    )
                    _log.warning(text, type(error).__name__)
                pause_s = min(2 * pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
                if stopping and self._sender.n_left == n_left:  # as long as something arrives, it is worth another try
                    return
            else:
                pause_s = 0.0
                if stopping and not self._sender.n_left:
                    return
