"""Read a study that nobody vouches for in a child process, with limits on its memory and its time.

Files of an upload can make a parser ask for gigabytes, recurse without end or crash in a codec written in C. All of
that happens to a process that holds nothing else, and what comes back is plain numbers and text
(`pool.guarded_transfer`), never objects that the child could have chosen.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pool.asl.inputs import AslInput
from pool.errors import SettingsError, UnreadableFileError
from pool.guarded_asl import unpack_asl
from pool.guarded_transfer import ANSWER, QUESTION, Answer, Wanted, unpack_content, unpack_error, unpack_study
from pool.inputs import StudyInput
from pool.run_choice import RunChoice

if TYPE_CHECKING:
    from pool.dicom.stacks import StudyContent

_KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")
"""Of the environment; no token or password of the service reaches the child."""


@dataclass(frozen=True)
class ReadingLimits:
    """What one reading may use.

    Raises:
        SettingsError: a limit that is not positive.
    """

    memory_mb: int = 3072
    """Address space beyond what the child has at its start [MB]; a study of 3 x 90 frames of 256 x 256 takes 0.3 GB."""
    seconds: float = 120.0
    """Longest wait for the child, and its processor time [s]."""

    def __post_init__(self) -> None:
        if self.memory_mb < 1 or not self.seconds > 0:
            raise SettingsError(
                "reading limits", "must be positive", f"{self.memory_mb} MB, {self.seconds:g} s", "Give larger ones."
            )


def open_study_guarded(
    study: Path | Sequence[Path],
    choice: RunChoice | None = None,
    limits: ReadingLimits | None = None,
    scratch: Path | None = None,
) -> StudyInput:
    """As `pool.inputs.open_study`, in a child process.

    Blocks until the child has ended. The child is killed at the deadline, and dies with its parent.

    Args:
        study: as `pool.inputs.open_study`.
        choice: as `pool.inputs.open_study`.
        limits: see `ReadingLimits`.
        scratch: where frames and unpacked files lie meanwhile; default the system's folder for temporary files, where
            they stay if this process is killed.

    Raises:
        StudyError: as `pool.inputs.open_study`, in the same words; an `UnreadableFileError` where the child came to no
            answer within its limits or crashed.
    """
    with _answered(study, choice, limits, Wanted.FIRST_PASS, scratch) as (answer, work):
        return unpack_study(answer, work)


def open_any_guarded(
    study: Path | Sequence[Path],
    choice: RunChoice | None = None,
    limits: ReadingLimits | None = None,
    scratch: Path | None = None,
) -> StudyInput | AslInput:
    """As `pool.asl.inputs.open_any_study`, in a child process; arguments as `open_study_guarded`.

    One child finds out what the study is and reads it.

    Raises:
        StudyError: as `open_study_guarded`.
    """
    with _answered(study, choice, limits, Wanted.ANY, scratch) as (answer, work):
        return unpack_asl(answer, work) if answer.asl is not None else unpack_study(answer, work)


def study_content_guarded(
    study: Path | Sequence[Path], choice: RunChoice | None = None, limits: ReadingLimits | None = None
) -> StudyContent:
    """As `pool.dicom.read.read_study_content`, of a folder, zip or list of DICOM files, in a child process.

    Raises:
        StudyError: as `open_study_guarded`.
    """
    with _answered(study, choice, limits, Wanted.CONTENT) as (answer, _):
        return unpack_content(answer)


@contextmanager
def _answered(
    study: Path | Sequence[Path],
    choice: RunChoice | None,
    limits: ReadingLimits | None,
    wanted: Wanted,
    scratch: Path | None = None,
) -> Iterator[tuple[Answer, Path]]:
    """The child's answer and the folder that holds its arrays, for as long as the block lasts."""
    limits = limits or ReadingLimits()
    single = isinstance(study, str | Path)
    paths = [Path(study)] if isinstance(study, str | Path) else [Path(path) for path in study]
    question = {
        "paths": [str(path.absolute()) for path in paths],
        "single": single,
        "choice": asdict(choice or RunChoice()),
        "wanted": wanted,
        "limits": asdict(limits),
    }
    with tempfile.TemporaryDirectory(prefix="reading-", dir=scratch) as folder:
        work = Path(folder)
        (work / QUESTION).write_text(json.dumps(question))
        ended = _run(work, limits)
        if not (work / ANSWER).is_file():
            raise UnreadableFileError(
                "study",
                f"must be readable with {limits.memory_mb} MB of memory in {limits.seconds:g} s",
                ended,
                "Send one series alone, as the scanner exported it.",
            )
        answer = Answer.load(work / ANSWER)
        if answer.error is not None:
            raise unpack_error(answer.error)
        yield answer, work


def _run(work: Path, limits: ReadingLimits) -> str:
    """Run the child to its end; how it ended, in words."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment |= {
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(work),  # what it unpacks vanishes with the folder, even if it is killed
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }
    process = subprocess.Popen(  # what a library says to its error stream may quote the file: nobody hears it
        [sys.executable, "-P", "-W", "ignore", "-m", "pool.guarded_child", str(work), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    try:
        code = process.wait(limits.seconds)
    except subprocess.TimeoutExpired:
        return "a reader that came to no end"
    finally:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code == -signal.SIGXCPU:
        return "a reader that came to no end"
    return f"a reader that was ended by {signal.Signals(-code).name}" if code < 0 else f"a reader that failed ({code})"
