"""What Tune stores about an experiment, safe from a driver that is killed while it is written.

Tune copies its state files into the storage every two seconds, in place: a killed driver can leave half a file, and a
resume would begin at the first epoch, or not at all. So a whole copy is kept beside them. Object stores need none:
there an object appears whole or not at all.
"""

from __future__ import annotations

import json
import pickletools
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from tune.storage import Storage

KEPT_FOLDER = "kept-state"
"""Where the copies lie, inside the experiment's folder."""
KEEP_EVERY_S = 1.0
"""Time between two looks for a new state [s]."""
_STATE, _SEARCH = "experiment_state-", "basic-variant-state-"


@contextmanager
def kept_state(experiment: Storage) -> Iterator[None]:
    """While the block runs, keep a whole copy of Tune's state files.

    Args:
        experiment: Tune's folder of it.
    """
    if experiment.local is None:
        yield
        return
    ended = threading.Event()

    def keep() -> None:
        kept: dict[str, bytes] = {}
        while not ended.wait(KEEP_EVERY_S):
            for name in _state_files(experiment):
                content = _whole(experiment, name)
                if (
                    content is not None
                    and kept.get(name) != content
                    and _write(experiment.folder(KEPT_FOLDER), name, content)
                ):
                    kept[name] = content

    thread = threading.Thread(target=keep, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def has_trials(experiment: Storage) -> bool:
    """Whether Tune can take up the trials in that folder; damaged state files are mended from their copies, or removed.

    Each start of the driver has state files of its own, and Tune takes the last ones.
    """
    copies = experiment.folder(KEPT_FOLDER)
    for name in _state_files(experiment):
        if _whole(experiment, name) is None:
            if (content := _whole(copies, name)) is not None:
                experiment.write_bytes(name, content)
            else:
                experiment.remove(name)
    starts = [name.removeprefix(_STATE) for name in _state_files(experiment) if name.startswith(_STATE)]
    searches = [name.removeprefix(_SEARCH) for name in _state_files(experiment) if name.startswith(_SEARCH)]
    for start in set(starts) - set(searches):  # without the other half Tune would train all seeds twice
        experiment.remove(f"{_STATE}{start}")
    return bool(set(starts) & set(searches)) and experiment.exists("tuner.pkl")


def _state_files(experiment: Storage) -> list[str]:
    return [n for n in experiment.names() if n.startswith((_STATE, _SEARCH)) and n.endswith(".json")]


def _whole(folder: Storage, name: str) -> bytes | None:
    """Content of a state file; None where it is missing or damaged. Nothing in it is run."""
    try:
        data = folder.read_bytes(name)
        if name.startswith(_STATE):
            json.loads(data)
        else:  # a pickle, whatever its name says
            deque(pickletools.genops(data), maxlen=0)
    except (OSError, ValueError):
        return None
    return data


def _write(folder: Storage, name: str, data: bytes) -> bool:
    try:
        folder.write_bytes(name, data)
    except Exception:  # a full disk must not end a training that may go on without this copy
        return False
    return True
