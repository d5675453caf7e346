"""Locks that die with their holder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from serve.store.locks import Claim

HOLD = """
import sys
from pathlib import Path
from serve.store.locks import Claim
assert Claim(Path(sys.argv[1])).take()
claim = Claim(Path(sys.argv[1] + "2")); assert claim.take()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_holds_a_claim_at_a_time(tmp_path: Path) -> None:
    mine, yours = Claim(tmp_path / "claim"), Claim(tmp_path / "claim")
    assert mine.take()
    assert mine.take()
    assert not yours.take()
    mine.let_go()
    assert yours.take()
    assert not mine.take()


def test_a_holder_that_is_killed_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "claim"
    command = [sys.executable, "-c", HOLD, str(path)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        claim = Claim(tmp_path / "claim2")
        assert not claim.take()
        holder.kill()
        holder.wait()
        assert claim.take()
