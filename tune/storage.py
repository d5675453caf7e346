"""The storage folder: Ray's checkpoints, and a record of the training they belong to, so that no other one resumes."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pool.errors import OutputError, SettingsError
from tune.assemble import refuse_used_folder
from tune.fields import flat_fields
from tune.resources import Resources
from tune.settings import TrainingSettings

EXPERIMENT_FOLDER = "seeds"
"""Where Ray Tune keeps the trials, inside the storage folder."""
RECORD_NAME = "training.json"
"""What the trials were started with, inside the storage folder."""
CHOSEN_LATER = ("settings.n_checkpoints", "settings.least_validation_dice")
"""May change on a resume: they decide which checkpoints become members, not what is learned."""
_NAMES = {"data": "path of the labelled set", "data_sha256": "content of the labelled set"}


def refuse_unusable_places(out_dir: Path, storage_path: Path | None, resume: bool) -> None:
    """Refuse folders that a training could not use; asked before anything is simulated or trained.

    Args:
        out_dir: the pool folder, which must be new or empty.
        storage_path: the storage folder, if one was named.
        resume: whether `storage_path` must hold a training, or must not.

    Raises:
        OutputError: a folder that is in use, is a file or cannot be written.
        SettingsError: nothing to resume.
    """
    _refuse_unwritable(f"pool folder {out_dir.name}", out_dir)
    refuse_used_folder(out_dir)
    if storage_path is None:
        if resume:
            remedy = "Name the one it was started with."
            raise SettingsError("training", "can be resumed only from a storage folder", "none", remedy)
        return
    subject = f"storage folder {storage_path.name}"
    _refuse_unwritable(subject, storage_path)
    if not resume and (storage_path / EXPERIMENT_FOLDER).exists():
        raise OutputError(subject, "must not hold another training", "one", "Resume it, or name another folder.")
    if resume and not (storage_path / RECORD_NAME).is_file():
        remedy = "Name the folder it was started with, or start a new training."
        raise SettingsError(subject, "must hold the training to resume", f"no {RECORD_NAME}", remedy)


def training_record(
    settings: TrainingSettings, data: Path, data_sha256: str, resources: Resources
) -> dict[str, dict[str, Any] | str]:
    """All that the trials are started with, as JSON-ready fields. The address is none of it: a cluster may move."""
    stored = {name: value for name, value in asdict(resources).items() if name != "address"}
    return {
        "settings": settings.to_dict(),
        "sha256_of_seed_training": settings.sha256_of_seed_training(),
        "data": str(data.resolve()),
        "data_sha256": data_sha256,
        "resources": stored,
    }


def save_record(storage: Path, record: dict[str, Any]) -> None:
    """Write the record, whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        part = storage / f"{RECORD_NAME}.part"
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(part, storage / RECORD_NAME)
    except OSError as error:
        raise _unwritable(f"storage folder {storage.name}", error) from error


def refuse_another_training(storage: Path, record: dict[str, Any]) -> None:
    """Refuse to resume a training with other settings, data or resources: Ray would go on with the old ones unasked.

    Args:
        storage: folder that holds a training.
        record: of the training asked for; may differ in `CHOSEN_LATER` alone.

    Raises:
        SettingsError: it differs elsewhere, or the stored record cannot be read.
    """
    try:
        stored = flat_fields(dict(json.loads((storage / RECORD_NAME).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        rule = f"{RECORD_NAME} must be the JSON that the training wrote"
        raise SettingsError(f"storage folder {storage.name}", rule, type(error).__name__) from error
    asked = flat_fields(record)
    differing = [
        key
        for key in sorted(stored.keys() | asked.keys())
        if key not in CHOSEN_LATER and stored.get(key) != asked.get(key)
    ]
    rows = [_row(key, asked.get(key), stored.get(key)) for key in differing if key != "sha256_of_seed_training"]
    if differing:
        raise SettingsError(
            "training",
            "can be resumed only as it was started, n_checkpoints and the Dice floor apart",
            ", ".join(rows) or "another hash of the settings",
            "Give what it was started with, or start another one in another storage folder.",
        )


def _row(key: str, asked: object, stored: object) -> str:
    if key in _NAMES:
        return f"another {_NAMES[key]}"
    return f"{key.removeprefix('settings.').removeprefix('resources.')} {asked} instead of {stored}"


def _refuse_unwritable(subject: str, folder: Path) -> None:
    try:
        nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise OutputError(subject, "must be a folder", "a file" if nearest == folder.absolute() else "a file above")
        with tempfile.TemporaryFile(dir=nearest):  # permission bits alone miss read-only and full disks
            pass
    except OSError as error:
        raise _unwritable(subject, error) from error


def _unwritable(subject: str, error: OSError) -> OutputError:
    return OutputError(subject, "must be writable", error.strerror or type(error).__name__, "Name another folder.")
