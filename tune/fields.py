"""Nested settings as flat rows."""

from __future__ import annotations

from typing import Any


def flat_fields(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"network": {"width": 4}}` as `{"network.width": 4}`: one row a setting, to log or to compare."""
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        flat |= flat_fields(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
