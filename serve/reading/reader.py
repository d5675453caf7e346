"""Asks limited children to open files from strangers."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pool.errors
from pool.analysis import StudyAnalysis
from pool.errors import OutputError, PoolError, UnreadableFileError
from pool.preprocess import PreparedSlice, PreprocessSettings
from pool.series import PerfusionSeries
from serve.reading.limits import ReadingLimits
from serve.reading.study_file import load_study
from serve.reading.zygote import PID

_MOST_ANSWER_BYTES = 1_000_000


class LimitedReader:
    """Children that open uploads; use it from any thread. Nothing runs before the first job.

    Args:
        limits: of every child.
    """

    def __init__(self, limits: ReadingLimits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self._zygote: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def check(self, files: Sequence[Path], settings: PreprocessSettings, scratch: Path) -> int:
        """Number of slices of an upload that can be analysed.

        Args:
            files: of the upload.
            settings: how slices are prepared.
            scratch: an empty folder for the child; whoever made it removes it.

        Raises:
            StudyError: it cannot be analysed, or takes more than the limits.
        """
        return int(self._ask("check", files, scratch, {"preprocess": asdict(settings)})["n_slices"])

    def read(
        self, files: Sequence[Path], settings: PreprocessSettings, scratch: Path
    ) -> tuple[PerfusionSeries, tuple[PreparedSlice, ...]]:
        """An upload, read and prepared; arguments and errors as `check`."""
        out = scratch / "study.npz"
        self._ask("read", files, scratch, {"preprocess": asdict(settings), "out": str(out)})
        try:
            return load_study(out)
        finally:
            out.unlink(missing_ok=True)

    def write(self, analysis: StudyAnalysis, files: Sequence[Path], out_dir: Path, scratch: Path) -> None:
        """Write the results of a study, see `pool.results.write_results`.

        Args:
            analysis: the result.
            files: of the upload, whose headers the DICOM objects refer to.
            out_dir: where results belong.
            scratch: as in `check`.

        Raises:
            StudyError, OutputError: as `write_results`.
        """
        handed_over = scratch / "analysis.pickle"
        handed_over.write_bytes(pickle.dumps(analysis))
        try:
            self._ask("write", files, scratch, {"analysis": str(handed_over), "out": str(out_dir)})
        finally:
            handed_over.unlink(missing_ok=True)

    def close(self) -> None:
        """End the zygote, and with it whatever its children do."""
        with self._lock:
            self._end_zygote()

    def _ask(self, job: str, files: Sequence[Path], scratch: Path, arguments: dict[str, Any]) -> dict[str, Any]:
        asked = {
            "job": job,
            "files": [str(path) for path in files],
            "scratch": str(scratch),
            "limits": asdict(self._limits),
            "arguments": arguments,
        }
        connection, pid = self._child()
        with connection, connection.makefile("rwb") as stream:
            connection.settimeout(self._limits.deadline_s)
            try:
                stream.write(json.dumps(asked).encode() + b"\n")
                stream.flush()
                answer = stream.readline(_MOST_ANSWER_BYTES)
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                raise self._too_much(f"must be read within {self._limits.deadline_s:g} s", "longer") from None
            except OSError:
                answer = b""
        if not answer:
            rule = f"may take at most {self._limits.memory_mb} MB and {self._limits.cpu_s} s of a processor to read"
            raise self._too_much(rule, "more, or something that ends the program that reads it")
        return _understood(answer)

    def _too_much(self, rule: str, found: str) -> UnreadableFileError:
        return UnreadableFileError("upload", rule, found, "Send the perfusion series alone; export it again.")

    def _child(self) -> tuple[socket.socket, int]:
        """A connection to a new child, and its process id."""
        own, childs = socket.socketpair()
        with childs, self._lock:
            for _attempt in range(2):
                if self._control is None:
                    self._start_zygote()
                assert self._control is not None
                try:
                    socket.send_fds(self._control, [b"."], [childs.fileno()])
                    if len(answer := self._control.recv(PID.size, socket.MSG_WAITALL)) == PID.size:
                        return own, PID.unpack(answer)[0]
                except OSError:
                    pass
                self._end_zygote()  # it was killed; the next one serves
        own.close()
        raise OutputError("upload reader", "must be startable", "a process that ended at once", "Is memory left?")

    def _start_zygote(self) -> None:
        own, childs = socket.socketpair()
        with childs:
            command = [sys.executable, "-m", "serve.reading.zygote", str(childs.fileno())]
            self._zygote = subprocess.Popen(
                command,
                pass_fds=[childs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        self._control = own

    def _end_zygote(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._zygote is not None:
            self._zygote.kill()
            self._zygote.wait()
        self._control = self._zygote = None


def _understood(answer: bytes) -> dict[str, Any]:
    """A child's answer, or the refusal in it as the error that it stands for."""
    try:
        found = json.loads(answer)
        refusal = found.get("refusal")
        if refusal is None:
            return dict(found)
        kind = getattr(pool.errors, refusal["error"])
        error = kind(*(str(refusal[name]) for name in ("subject", "rule", "found", "remedy")))
    except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        error = None
    if not isinstance(error, PoolError):
        raise UnreadableFileError("upload", "must be readable as a study", "an answer that makes no sense")
    raise error
