"""What runs in a limited child: one job, asked for in JSON and answered in JSON."""

from __future__ import annotations

import json
import pickle
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pool.analysis import StudyAnalysis
from pool.dicom import objects  # noqa: F401  imported once, in the zygote, and not in every child
from pool.errors import PoolError, UnreadableFileError
from pool.figures import overlay  # noqa: F401  as above
from pool.inputs import StudyInput, open_study
from pool.preprocess import PreparedSlice, PreprocessSettings, prepare
from pool.results import check_study_output, write_results
from serve.reading.limits import ReadingLimits, apply_limits
from serve.reading.study_file import save_study


def serve_job(connection: socket.socket) -> None:
    """Do the one job that is asked for on the connection."""
    with connection.makefile("rwb") as stream:
        asked = json.loads(stream.readline())
        tempfile.tempdir = asked["scratch"]  # what a killed child leaves goes with the study, not into /tmp
        apply_limits(ReadingLimits(**asked["limits"]))
        try:
            answer = _JOBS[asked["job"]]([Path(name) for name in asked["files"]], asked["arguments"])
        except PoolError as error:
            answer = {"refusal": error.to_dict()}
        except MemoryError:
            rule = f"may take at most {asked['limits']['memory_mb']} MB of memory to read"
            answer = {"refusal": UnreadableFileError("upload", rule, "more", _REMEDY).to_dict()}
        except Exception as error:
            found = f"{type(error).__name__} while reading it"
            refusal = UnreadableFileError("upload", "must be readable as a study", found, "Export it again.")
            answer = {"refusal": refusal.to_dict()}
        stream.write(json.dumps(answer).encode() + b"\n")


_REMEDY = "Send the perfusion series alone, without the rest of the examination."


def read_study(files: Sequence[Path], settings: PreprocessSettings) -> tuple[StudyInput, tuple[PreparedSlice, ...]]:
    """Read and prepare the files of an upload: the same for its first check and for the work on it.

    Raises:
        StudyError: the study cannot be analysed.
    """
    study = open_study(files[0] if len(files) == 1 else files)
    check_study_output(study.dicom)
    return study, prepare(study.series, settings)


def _check(files: Sequence[Path], arguments: dict[str, Any]) -> dict[str, Any]:
    study, _ = read_study(files, PreprocessSettings(**arguments["preprocess"]))
    return {"n_slices": study.series.n_slices}


def _read(files: Sequence[Path], arguments: dict[str, Any]) -> dict[str, Any]:
    study, prepared = read_study(files, PreprocessSettings(**arguments["preprocess"]))
    save_study(Path(arguments["out"]), study.series, prepared)
    return {}


def _write(files: Sequence[Path], arguments: dict[str, Any]) -> dict[str, Any]:
    """Results of a study: its headers are read once more, so that they never leave a limited process."""
    analysis = pickle.loads(Path(arguments["analysis"]).read_bytes())  # written by the service itself
    assert isinstance(analysis, StudyAnalysis)
    study = open_study(files[0] if len(files) == 1 else files)
    write_results(analysis, Path(arguments["out"]), study.dicom)
    return {}


_JOBS: dict[str, Callable[[Sequence[Path], dict[str, Any]], dict[str, Any]]] = {
    "check": _check,
    "read": _read,
    "write": _write,
}
