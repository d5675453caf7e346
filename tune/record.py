"""The record of a training: what its trials were started with, so that no other training resumes from its storage."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pool.errors import SettingsError
from tune.fields import flat_fields
from tune.resources import Resources
from tune.settings import TrainingSettings
from tune.start import StartPool
from tune.storage import RECORD_NAME, Storage

CHOSEN_LATER = ("settings.n_checkpoints", "settings.least_validation_dice")
"""May change on a resume: they decide which checkpoints become members, not what is learned."""
_NAMES = {
    "data": "path of the labelled set",
    "data_sha256": "content of the labelled set",
    "start": "path of the pool to start from",
    "start_sha256": "content of the pool to start from",
}


def training_record(
    settings: TrainingSettings, data: Path, data_sha256: str, resources: Resources, start: StartPool | None = None
) -> dict[str, Any]:
    """All that the trials are started with, as JSON-ready fields. The address is none of it: a cluster may move."""
    stored = {name: value for name, value in asdict(resources).items() if name != "address"}
    return {
        "settings": settings.to_dict(),
        "sha256_of_seed_training": settings.sha256_of_seed_training(),
        "data": str(data.resolve()),
        "data_sha256": data_sha256,
        "start": str(start.folder) if start is not None else None,
        "start_sha256": start.sha256 if start is not None else None,
        "resources": stored,
    }


def save_record(storage: Storage, record: dict[str, Any]) -> None:
    """Write the record, whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    storage.write_text(RECORD_NAME, json.dumps(record, indent=1) + "\n")


def refuse_another_training(storage: Storage, record: dict[str, Any]) -> None:
    """Refuse to resume with other settings, data, start or resources: Ray would go on with the old ones unasked.

    Args:
        storage: folder that holds a training.
        record: of the training asked for; may differ in `CHOSEN_LATER` alone.

    Raises:
        SettingsError: it differs elsewhere, or the stored record cannot be read.
    """
    found = differing_fields(storage, RECORD_NAME, record, f"storage folder {storage.name}", "training")
    differing = {key: values for key, values in found.items() if key not in CHOSEN_LATER}
    rows = [_row(key, *values) for key, values in differing.items() if key != "sha256_of_seed_training"]
    if differing:
        raise SettingsError(
            "training",
            "can be resumed only as it was started, n_checkpoints and the Dice floor apart",
            ", ".join(rows) or "another hash of the settings",
            "Give what it was started with, or start another one in another storage folder.",
        )


def differing_fields(
    storage: Storage, name: str, record: dict[str, Any], subject: str, writer: str
) -> dict[str, tuple[object, object]]:
    """What differs between a record and the one that is stored: (asked, stored) by name of the field, sorted.

    Args:
        storage: holds the stored one.
        name: its file.
        record: asked for.
        subject: the folder, in words.
        writer: what wrote the stored one, in words.

    Raises:
        SettingsError: the stored record cannot be read.
    """
    try:
        stored = flat_fields(dict(json.loads(storage.read_text(name))))
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            subject, f"{name} must be the JSON that the {writer} wrote", type(error).__name__
        ) from error
    asked = flat_fields(json.loads(json.dumps(record)))
    keys = sorted(stored.keys() | asked.keys())
    return {key: (asked.get(key), stored.get(key)) for key in keys if stored.get(key) != asked.get(key)}


def _row(key: str, asked: object, stored: object) -> str:
    if key in _NAMES:
        return f"another {_NAMES[key]}"
    return f"{key.removeprefix('settings.').removeprefix('resources.')} {asked} instead of {stored}"
