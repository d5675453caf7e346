"""Words in what scanners and their operators write."""

from __future__ import annotations

import re


def words_in(text: str) -> list[str]:
    """Lower-case words, split at everything but letters and digits, and where a capital follows a small letter."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower()
    return [word for word in re.split(r"[^a-z0-9]+", spaced) if word]
