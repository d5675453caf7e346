"""The phantom makes the truth that flow is measured against: neither may know the other's code."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported_modules(folder: str) -> dict[str, set[str]]:
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
        names |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        found[path.name] = names
    return found


def reached_from(folder: str, forbidden: str) -> dict[str, set[str]]:
    files = imported_modules(folder)
    assert len(files) > 10
    return {name: hits for name, names in files.items() if (hits := {n for n in names if n.startswith(forbidden)})}


def test_the_fit_and_the_phantoms_kinetics_share_no_code() -> None:
    assert reached_from("pool/perfusion", "pool.phantom") == {}
    # the phantom's series carry a scanner's values, nothing else of the fit
    assert reached_from("pool/phantom", "pool.perfusion") == {}
