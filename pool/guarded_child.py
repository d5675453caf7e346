"""The child of `pool.guarded`: sets its own limits, reads one study, leaves an answer, ends."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pool.asl.inputs import AslInput, open_any_study
from pool.errors import PoolError, UnreadableFileError
from pool.guarded_asl import pack_asl
from pool.guarded_transfer import QUESTION, Wanted, pack_content, pack_error, pack_study, unpack_choice
from pool.inputs import StudyInput, open_study
from pool.run_choice import RunChoice

if TYPE_CHECKING:
    from pool.dicom.stacks import StudyContent

_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
_LARGEST_FILE = 2**33
"""Most bytes of one file that it may write: what an archive may unpack to, and the pixels it hands over."""


def main(work: Path, parent: int) -> None:
    """Answer the question that lies in `work`; `parent` is the process that asked."""
    question = json.loads((work / QUESTION).read_text())
    memory_mb, seconds = question["limits"]["memory_mb"], question["limits"]["seconds"]
    _preload()
    limit(memory_mb * 10**6, seconds, parent)
    paths = [Path(path) for path in question["paths"]]
    choice = unpack_choice(question["choice"])
    try:
        _answer(Wanted(question["wanted"]), paths[0] if question["single"] else paths, choice, work)
    except PoolError as error:
        pack_error(error, work)
    except MemoryError:
        pack_error(
            UnreadableFileError(
                "study",
                f"must be readable with {memory_mb} MB of memory in {seconds:g} s",
                "a reader that needed more memory",
                "Send one series alone, as the scanner exported it.",
            ),
            work,
        )


def _answer(wanted: Wanted, study: Path | list[Path], choice: RunChoice, work: Path) -> None:
    if wanted is Wanted.CONTENT:
        pack_content(_content(study if isinstance(study, list) else [study], choice), work)
        return
    readers: dict[Wanted, Callable[..., StudyInput | AslInput]] = {
        Wanted.FIRST_PASS: open_study,
        Wanted.ANY: open_any_study,
    }
    found = readers[wanted](study, choice)
    if isinstance(found, AslInput):
        pack_asl(found, work)
    else:
        pack_study(found, work)


def _content(paths: list[Path], choice: RunChoice) -> StudyContent:
    from pool.dicom.archive import dicom_files
    from pool.dicom.read import read_study_content

    if len(paths) > 1:
        return read_study_content(paths, choice)
    with dicom_files(paths[0]) as files:
        return read_study_content(files, choice)


def _preload() -> None:
    """Load every library before memory is counted."""
    import nibabel  # noqa: F401
    import scipy.io  # noqa: F401
    from pydicom.pixels.decoders import base  # noqa: F401

    import pool.dicom.archive
    import pool.dicom.asl.read
    import pool.dicom.read  # noqa: F401


def limit(memory_bytes: int, seconds: float, parent: int) -> None:
    """Limit memory beyond what is used now, processor time and written files; die when `parent` does."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    cpu_s = int(seconds) + 1
    for kind, soft, hard in (
        (resource.RLIMIT_AS, used + memory_bytes, used + memory_bytes),
        (resource.RLIMIT_CPU, cpu_s, cpu_s + 5),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE, _LARGEST_FILE),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        most = resource.getrlimit(kind)[1]  # where someone set a lower one, that one holds
        lower = [limit if most == resource.RLIM_INFINITY else min(limit, most) for limit in (soft, hard)]
        resource.setrlimit(kind, (lower[0], lower[1]))
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
