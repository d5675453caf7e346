"""What is made of the measurements of the service: slopes, parts, verdicts. To measure is a `make` target."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.trials.one_service import part_of
from deploy.trials.overhead import cut_pool
from deploy.trials.soak import Sent, judged, slope_an_hour
from pool.manifest import PoolManifest, verify_pool
from pool.member import PRETRAINED


def climbing(mb_an_hour: float, n: int = 41) -> list[dict[str, float]]:
    """Samples of ten minutes, every 15 s: shards climb, the rest stays."""
    at_s = [15.0 * i for i in range(n)]
    return [
        {"at_s": t, "shards": 500 + mb_an_hour * t / 3600, "front": 100.0, "total": 600 + mb_an_hour * t / 3600}
        for t in at_s
    ]


def sent(n: int = 40, took_s: float = 1.0) -> Sent:
    return Sent([(float(i), took_s) for i in range(n)])


def test_a_slope_is_that_of_the_line() -> None:
    assert slope_an_hour(climbing(120.0), "shards") == pytest.approx(120.0)
    assert slope_an_hour(climbing(120.0), "front") == pytest.approx(0.0, abs=1e-9)
    assert slope_an_hour(climbing(120.0)[:1], "shards") == 0.0
    gone = [{"at_s": 0.0, "readers": 36.0}, {"at_s": 3600.0}]
    assert slope_an_hour(gone, "readers") == pytest.approx(-36.0)


def test_memory_that_climbs_is_not_flat_and_warming_up_is_left_out() -> None:
    assert judged(climbing(40.0), sent())["holds"] is True
    assert judged(climbing(-400.0), sent())["holds"] is True
    steep = judged(climbing(80.0), sent())
    assert (steep["holds"], steep["slope_mb_an_hour"]["shards"], steep["flat_below_mb_an_hour"]) == (False, 80.0, 50.0)
    warming = climbing(0.0)
    for sample in warming[:10]:  # a quarter of the time
        sample["total"] = 300.0
    assert judged(warming, sent())["holds"] is True


def test_a_failed_study_is_no_success_and_slower_ones_are_seen() -> None:
    failed = sent()
    failed.failures.append("study x: ended as failed")
    assert judged(climbing(0.0), failed)["holds"] is False
    slower = Sent([(float(i), 1.0 + i / 10) for i in range(40)])
    found = judged(climbing(0.0), slower)
    assert (found["study_s_early"], found["study_s_late"]) == (1.6, 4.75)


@pytest.mark.parametrize(
    ("title", "part"),
    [
        ("ray::ServeReplica:perfusion-pool:shard-07.analyse", "shards"),
        ("ray::ServeReplica:perfusion-pool:selector", "selector"),
        ("ray::ServeController.listen_for_change", "controller"),
        ("ray::ProxyActor", "proxy"),
        ("ray::IDLE", "idle workers"),
        ("/x/ray/core/src/ray/raylet/raylet --raylet_socket_name=...", "raylet"),
        ("/x/ray/core/src/ray/gcs/gcs_server --log_dir=...", "gcs_server"),
        ("python -u /x/ray/_private/log_monitor.py", "Ray, the rest"),
        ("driver", "driver"),
    ],
)
def test_a_process_belongs_to_a_part_by_its_title(title: str, part: str) -> None:
    assert part_of(title) == part


def test_a_cut_pool_is_a_pool(tmp_path: Path) -> None:
    manifest = cut_pool(tmp_path / "pool", 2)
    assert verify_pool(tmp_path / "pool") == manifest
    assert [entry.id for entry in manifest.members] == [entry.id for entry in PoolManifest.load(PRETRAINED).members[:2]]
