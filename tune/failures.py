"""Why a trial failed, in one sentence, and where the rest can be read."""

from __future__ import annotations

import logging
import re
from pathlib import Path, PurePosixPath
from typing import Any

from ray import cloudpickle
from ray import tune as ray_tune
from ray.exceptions import RayActorError, RayError

from pool.errors import PoolError
from tune.errors import TrainingError

MOST_CHARACTERS = 300
"""Of a library's own words."""
ERROR_FILE = "error.txt"
"""Tune's, in a trial's folder: every failure of the trial with its traceback."""


def error_of(
    result: ray_tune.Result, subject: str, place: str = "the storage folder", go_on: str = "--resume tries again"
) -> PoolError:
    """Why a trial failed for good; the error itself, where it is one of ours.

    Args:
        result: of the trial.
        subject: what the trial is called.
        place: where Tune's folder of the experiment lies, in words.
        go_on: how; a clause.
    """
    cause = _cause(result.error)
    if isinstance(cause, PoolError):
        return cause
    trial = PurePosixPath(result.path)
    remedy = f"Tracebacks: {trial.parent.name}/{trial.name}/{ERROR_FILE} in {place}; {go_on}."
    return TrainingError(subject, "must end without a failure", in_words(cause), remedy)


def last_failure(trial: Any) -> str:
    """Why a trial has just failed; in the driver, before Tune has stored it.

    Args:
        trial: Tune's, in a callback.
    """
    stored = Path(trial.pickled_error_file or "")
    if not stored.is_file():
        return "a failure without an error"
    return in_words(_cause(cloudpickle.loads(stored.read_bytes())))


def in_words(cause: BaseException) -> str:
    """One clause: our own sentence, whose process died where, or a library's error and its first line."""
    if isinstance(cause, PoolError):
        return str(cause).rstrip(".")
    if isinstance(cause, RayActorError):
        return _death(str(cause))
    first_line = next((line.strip() for line in str(cause).splitlines() if line.strip()), "")
    return f"{type(cause).__name__}: {first_line}".rstrip(": .")[:MOST_CHARACTERS]


def speak_for_tune() -> None:
    """Silence what Tune writes about every failure, a page of its own code each: the driver says it in a sentence."""
    for name in ("execution.tune_controller", "tune", "analysis.experiment_analysis"):
        logging.getLogger(f"ray.tune.{name}").setLevel(logging.CRITICAL)


def _cause(error: BaseException | None) -> BaseException:
    if isinstance(error, RayError):
        return getattr(error, "cause", None) or error
    return error or TrainingError("trial", "must end without a failure", "no error at all")


def _death(text: str) -> str:
    """From Ray's paragraphs about a dead actor: what died, where, and the first sentence of why."""
    what = re.search(r"The actor is dead because (.*?)\.(?:\s|$)", text)
    place = re.search(r"^\s*ip: (\S+)", text, re.MULTILINE)
    detail = re.search(r"exit detail: (.*?)\.(?:\s|$)", text)
    parts = [what[1] if what else "its process has died"]
    if place:
        parts.append(f"on node {place[1]}")
    if detail:
        parts.append(f"({detail[1]})")
    return " ".join(parts)[:MOST_CHARACTERS]
