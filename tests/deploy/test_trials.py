"""The trials of the service can fail: what they would have to notice is put before them."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from deploy.trials.chaos import EVERYTHING, NODE, TARGETS, judge, plan_of
from deploy.trials.clients import Fate
from deploy.trials.overload import Outcome
from deploy.trials.processes import descendants, kill_tree, memory_mb
from serve.store.records import StudyState
from serve.store.studies import StudyStore
from tests.serve.fakes import BASIS

RIGHT = {"result.json": b"right"}


def accept(store: StudyStore, content: bytes) -> str:
    with store.receive() as upload:
        upload.add(io.BytesIO(content), "a.npz")
        return upload.commit(1, BASIS).id


def finish(store: StudyStore, study_id: str) -> None:
    store.start(study_id, BASIS)
    store.results_dir(study_id).mkdir()
    store.finish(study_id)


def fate_of(study_id: str, answer: dict[str, bytes]) -> Fate:
    return Fate(Path("s.npz"), study_id, StudyState.DONE if answer else StudyState.FAILED, answer)


def test_a_plan_kills_every_part_and_everything_once_and_depends_on_its_seed_alone() -> None:
    plan = plan_of(100, 3, random.Random(1))
    assert Counter(kill.target for kill in plan) == {**dict.fromkeys([*TARGETS, NODE], 3), EVERYTHING: 1}
    assert [kill.after for kill in plan] == sorted(kill.after for kill in plan)
    assert plan == plan_of(100, 3, random.Random(1)) != plan_of(100, 3, random.Random(2))


def test_a_lost_a_different_and_a_doubled_study_are_noticed(tmp_path: Path) -> None:
    store = StudyStore(tmp_path)
    ids = [accept(store, bytes([i])) for i in range(4)]
    for study_id in ids[:3]:
        finish(store, study_id)
    fates = [fate_of(ids[0], RIGHT), fate_of(ids[1], {"result.json": b"wrong"}), fate_of(ids[2], {})]
    found = judge(fates, [RIGHT] * 3, store, before=())
    assert found == {"sent": 3, "accepted": 3, "done": 2, "lost": 1, "different": 1, "duplicated": 1}
    assert judge(fates[:1], [RIGHT], store, before=ids[1:])["duplicated"] == 0
    (tmp_path / ids[0] / "events.jsonl").open("a").write('{"event": "started"}\n')  # done, and begun once more
    assert judge(fates[:1], [RIGHT], store, before=ids[1:])["duplicated"] == 1


def test_an_overload_with_other_errors_lost_studies_or_growing_memory_is_at_fault() -> None:
    assert Outcome(Counter({"202": 3, "429": 9, "503": 1})).faults == []
    assert Outcome(Counter({"500": 1})).faults == ["1 x 500"]
    assert Outcome(Counter({"ReadTimeout": 2})).faults == ["2 x ReadTimeout"]
    assert Outcome(no_retry_after=1, not_done=["x"], growth_mb=1e4).faults == [
        "1 refusals without Retry-After",
        "1 accepted studies are not done",
        "front and proxy grew by 10000 MB",
    ]


def test_a_process_is_killed_with_all_that_it_started() -> None:
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, flush=True); sys.stdin.read()"
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert descendants(parent.pid) == {child: "sleep 600"}
    assert memory_mb(parent.pid) > 1
    kill_tree(parent.pid)
    parent.wait()
    assert descendants(parent.pid) == {}
    assert memory_mb(child) == 0
