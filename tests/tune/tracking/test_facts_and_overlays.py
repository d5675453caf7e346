"""Which code it was, and what a member's outline looked like: on phantoms alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from pool.labelled_set import MANIFEST
from tests.samples import tiny_pool
from tune.settings import TrainingSettings
from tune.tracking.facts import code_tags
from tune.tracking.overlays import member_overlays


def test_code_and_libraries_are_named_and_the_commit_where_there_is_one(tmp_path: Path) -> None:
    outside = code_tags(tmp_path)
    assert outside.keys() == {"code", "version.python", "version.torch", "version.ray", "version.mlflow"}
    assert outside["version.mlflow"] == "3.17.2"

    def git(*words: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", *author, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "code").write_text("1")
    git("add", "code")
    assert code_tags(tmp_path) == outside  # no commit yet
    git("commit", "--quiet", "--message", "first")
    commit = {"mlflow.source.git.commit": git("rev-parse", "HEAD")}
    assert re.fullmatch(r"[0-9a-f]{40}", commit["mlflow.source.git.commit"])
    assert code_tags(tmp_path) == {**outside, **commit, "mlflow.source.git.dirty": "false"}
    (tmp_path / "code").write_text("2")
    assert code_tags(tmp_path) == {**outside, **commit, "mlflow.source.git.dirty": "true"}


def test_every_member_is_drawn_on_phantoms_and_none_on_other_sets(
    data: Path, changed: Callable[..., TrainingSettings], tmp_path: Path
) -> None:
    settings = changed(patch_px=64, validation_stride_px=32)
    tiny_pool(tmp_path / "pool", 2)
    drawn = dict(member_overlays(data, settings, tmp_path / "pool"))
    assert drawn.keys() == {"s0-e01", "s1-e01"}
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
    assert drawn["s0-e01"] != drawn["s1-e01"]

    shutil.copytree(data, tmp_path / "patients")
    manifest = json.loads((data / MANIFEST).read_text())
    (tmp_path / "patients" / MANIFEST).write_text(json.dumps({**manifest, "origin": {"folder": "own data"}}))
    assert not dict(member_overlays(tmp_path / "patients", settings, tmp_path / "pool"))
