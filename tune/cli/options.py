"""Options that commands share: which recipe is meant."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from pool.errors import SettingsError
from pool.networks import NetworkSpec
from tune.settings import PRESETS, TrainingSettings

DEFAULT_PRESET = "paper"


class HasNetwork(Protocol):
    """A recipe."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def network(self) -> NetworkSpec:
        """What it trains."""


Recipe = TypeVar("Recipe", bound=HasNetwork)


def chosen_settings(
    preset: str | None, file: Path | None, changes: dict[str, Any], network: dict[str, Any]
) -> TrainingSettings:
    """A preset's recipe or a file's, with what the command line changes.

    Args:
        preset: one of `tune.settings.PRESETS`; None is the paper's, unless there is a file.
        file: all of a recipe as JSON, as a search writes it.
        changes: fields of `TrainingSettings`; None leaves a field as it is.
        network: fields of `NetworkSpec`, likewise.

    Raises:
        SettingsError: both or an unknown preset, a file that cannot be read, a recipe that makes no sense.
    """
    return chosen_from("training", PRESETS, TrainingSettings.from_dict, preset, file, changes, network)


def chosen_from(
    subject: str,
    presets: Mapping[str, Callable[[], Recipe]],
    read: Callable[[dict[str, Any]], Recipe],
    preset: str | None,
    file: Path | None,
    changes: dict[str, Any],
    network: dict[str, Any],
) -> Recipe:
    """As `chosen_settings`, for recipes of any kind that have a network.

    Args:
        subject: of error texts.
        presets: recipes by name, `paper` among them.
        read: a recipe from the fields of a file.
    """
    if preset is not None and file is not None:
        raise SettingsError(subject, "takes either --preset or --settings", "both")
    if file is not None:
        settings = read(read_fields(file))
    elif (preset or DEFAULT_PRESET) in presets:
        settings = presets[preset or DEFAULT_PRESET]()
    else:
        raise SettingsError(subject, f"preset must be one of {', '.join(presets)}", repr(preset))
    given = {field: value for field, value in changes.items() if value is not None}
    sizes = {field: value for field, value in network.items() if value is not None}
    return dataclasses.replace(settings, **given, network=dataclasses.replace(settings.network, **sizes))


def read_fields(file: Path) -> dict[str, Any]:
    """The fields of a recipe in a JSON file.

    Raises:
        SettingsError: a file that cannot be read, or that is no JSON object.
    """
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"settings {file.name}", "must be a file", error.strerror or type(error).__name__
        ) from error
    except ValueError as error:
        raise SettingsError(f"settings {file.name}", "must be JSON", str(error)) from error
    if not isinstance(fields, dict):
        raise SettingsError(f"settings {file.name}", "must be one object of fields", type(fields).__name__)
    return fields


def numbers(text: str, option: str) -> tuple[float, ...]:
    """Comma-separated numbers.

    Raises:
        SettingsError: something else.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise SettingsError("command line", f"{option} takes numbers with commas between them", repr(text))
    return values


def whole_numbers(text: str, option: str) -> tuple[int, ...]:
    """Comma-separated whole numbers.

    Raises:
        SettingsError: something else.
    """
    values = numbers(text, option)
    if any(value != int(value) for value in values):
        raise SettingsError("command line", f"{option} takes whole numbers with commas between them", repr(text))
    return tuple(int(value) for value in values)
