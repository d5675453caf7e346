"""Which code and which libraries a training ran with, as tags of its parent run."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from tune.assemble import software

LIBRARIES = ("torch", "ray", "mlflow")
GIT_TIMEOUT_S = 5.0
"""Longest wait for git [s]."""


def code_tags(checkout: Path | None = None) -> dict[str, str]:
    """Version of this code, its commit if it lies in a git checkout, and the versions of the libraries.

    Args:
        checkout: folder to ask git about; default: where this code lies.
    """
    tags = {"code": software(), "version.python": platform.python_version()}
    tags |= {f"version.{name}": version(name) for name in LIBRARIES}
    folder = checkout or Path(__file__).parents[2]
    if (folder / ".git").exists() and (commit := _git(folder, "rev-parse", "HEAD")):
        tags["mlflow.source.git.commit"] = commit
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
        tags["mlflow.source.git.dirty"] = "true" if changed else "false"
    return tags


def _git(folder: Path, *words: str) -> str:
    """What git answers; empty where it does not."""
    try:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
