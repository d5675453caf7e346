"""The operating guide: what needs no cluster runs as it stands; the rest names what there is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from serve.__main__ import app
from tests.samples import tiny_pool

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "deploy" / "OPERATING.md").read_text(encoding="utf-8")
HERE = re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL)
ELSEWHERE = [
    line for block in re.findall(r"```sh cluster\n(.*?)```", GUIDE, flags=re.DOTALL) for line in block.splitlines()
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as the guide expects it: `deploy/`, `.venv/`, a study store, a new pool."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "deploy", folder / "deploy", ignore=shutil.ignore_patterns("secrets", "__pycache__"))
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / "studies" / ("0" * 32)).mkdir(parents=True)
    (folder / "studies" / ".incoming" / "half").mkdir(parents=True)
    tiny_pool(folder / "new-pool", 1)
    return folder


def test_every_block_that_needs_no_cluster_runs(checkout: Path) -> None:
    assert len(HERE) == 7
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for block in HERE:  # in order: some use what others made
        words = ["bash", "-euo", "pipefail", "-c", block]
        done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
    assert sorted(path.name for path in (checkout / "restored" / "studies").iterdir()) == ["0" * 32]


def test_no_command_stands_outside_the_two_kinds_of_block() -> None:
    fences = re.findall(r"^```(.*)$", GUIDE, flags=re.MULTILINE)
    assert set(fences[::2]) == {"sh", "sh cluster"}
    assert set(fences[1::2]) == {""}


@pytest.mark.parametrize("line", ELSEWHERE)
def test_what_needs_a_cluster_names_what_there_is(line: str) -> None:
    words = line.split()
    assert words[0] in ("docker", "kubectl", "curl", "python")
    for word in words:
        if word.startswith("deploy/"):
            assert (ROOT / word).is_file(), word
    made = [yaml.safe_load_all(path.read_text()) for path in (ROOT / "deploy" / "kubernetes").glob("*.yaml")]
    names = {document["metadata"]["name"] for documents in made for document in documents}
    if words[0] == "kubectl":
        for kind, name in re.findall(r"(rayservice|rayjob) (perfusion\S+)", line):
            assert name in names, f"{kind} {name}"
        for name in re.findall(r"service/(\S+)-serve-svc", line):
            assert name in names
    if words[:2] == ["docker", "compose"]:
        services = yaml.safe_load((ROOT / "deploy" / "compose" / "compose.yaml").read_text())["services"]
        for verb in ("exec", "restart"):
            if verb in words:
                assert words[words.index(verb) + 1] in services
    if "serve" in words and "-m" in words:
        command = words[words.index("serve") + 1]
        usage = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert usage.exit_code == 0
        for option in (word for word in words[words.index("serve") :] if word.startswith("--")):
            assert option in usage.output, option


def test_every_alert_says_what_to_do() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "monitoring" / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    assert alerts <= set(re.findall(r"^### (\w+)$", GUIDE, flags=re.MULTILINE))


def test_files_and_metrics_of_the_tables_exist() -> None:
    for name in re.findall(r"`((?:containers|compose|kubernetes|monitoring|cluster)/[^`]*)`", GUIDE):
        assert list((ROOT / "deploy").glob(name.rstrip("/"))), name
    from tests.deploy.test_monitoring_files import exported

    for metric in re.findall(r"`(pool_[a-z_]+)`", GUIDE):
        assert {metric, f"{metric}_bucket"} & set(exported()), metric
