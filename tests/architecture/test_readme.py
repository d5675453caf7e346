"""README's commands run, and its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.samples import bolus_series, tiny_pool, write_npz

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.split("#")[0].strip()
]

GROUPS = {"asl"}
"""Words that several commands share."""


def test_readme_has_the_two_commands() -> None:
    assert {"make demo", "make test"} <= set(COMMANDS)


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    words = ["make", "--dry-run", *command.split()[1:]]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [command for command in COMMANDS if "python -m" in command])
def test_every_option_of_a_command_is_one_it_has(command: str) -> None:
    words = shlex.split(command)[1:]
    module, subcommand = words[1], words[2:4] if words[2] in GROUPS else words[2:3]
    usage = subprocess.run(
        [sys.executable, "-m", module, *subcommand, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "TERM": "dumb"},
    )
    assert usage.returncode == 0, usage.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in usage.stdout, f"{command}: no {option}"


def test_the_analysis_command_runs_as_written(tmp_path: Path) -> None:
    command = next(command for command in COMMANDS if "-m pool analyse" in command)
    tiny_pool(tmp_path / "demo" / "pool", 1)
    write_npz(tmp_path / "demo" / "study.npz", bolus_series())
    words = [sys.executable, *shlex.split(command.replace("demo/study", "demo/study.npz"))[1:]]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "result" / "result.json").is_file()


def test_links_and_pictures_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
