"""A process that has imported everything that reading a study needs, and forks a child for each job in milliseconds.

Started by `serve.reading.reader` as `python -m serve.reading.zygote DESCRIPTOR` with one end of a socket pair. For
every socket that is passed to it, it forks a child that serves one job on it, and answers with the child's process id.
It ends when the other end is closed, and the children end with it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import struct
import sys
import warnings

PID = struct.Struct("!i")


def main(control: socket.socket) -> None:
    """Fork children until the other end of the socket is closed."""
    from serve.reading.child import serve_job

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    while True:
        _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not descriptors:
            return
        pid = os.fork()
        if pid == 0:
            control.close()
            try:
                serve_job(socket.socket(fileno=descriptors[0]))
            finally:
                os._exit(0)
        os.close(descriptors[0])
        control.sendall(PID.pack(pid))


def _be_silent() -> None:
    """Libraries quote what is in a file; nothing of that may reach a log."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


if __name__ == "__main__":
    _be_silent()
    main(socket.socket(fileno=int(sys.argv[1])))
