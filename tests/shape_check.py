"""What checks the shapes in signatures during the tests (`--jaxtyping-packages` in pyproject.toml)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""beartype that takes an int where a float is declared, as Python's typing does."""
