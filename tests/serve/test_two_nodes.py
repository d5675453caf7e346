"""The service on two Ray nodes with token authentication: the numbers of one process for any K, and nothing lost when
everything on it is killed, in turn and at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from deploy.trials.chaos import EVERYTHING, NODE, TARGETS, attack
from deploy.trials.service import ServiceUnderTest
from deploy.trials.studies import reference, write_small_study, write_tiny_pool
from pool.member import Pool
from serve.client import ServiceClient

pytestmark = pytest.mark.timeout(1800)
N_MEMBERS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nodes")
    write_tiny_pool(folder / "pool", N_MEMBERS)
    write_tiny_pool(folder / "smaller", N_MEMBERS - 1)
    return folder


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[ServiceUnderTest]:
    service = ServiceUnderTest(folder)
    try:
        service.start()
        yield service
    finally:
        service.stop()


def expect_the_numbers_of_one_process(service: ServiceUnderTest, pool: Path, study: Path) -> None:
    before = torch.get_num_threads()
    expected = reference(study, Pool.load(pool), service.settings.analysis)
    torch.set_num_threads(before)
    with ServiceClient(service.url, patience_s=300) as client:
        sent = client.send(study)
        client.wait(sent.id, deadline_s=600)
        for name, content in expected.items():
            assert client.result(sent.id, name) == content, name


def test_any_number_of_shards_on_two_nodes_gives_the_numbers_of_one_process(
    service: ServiceUnderTest, folder: Path, tmp_path: Path
) -> None:
    study = write_small_study(tmp_path / "study.npz", 1)
    expect_the_numbers_of_one_process(service, folder / "pool", study)  # K = 2
    service.roll(folder / "smaller", n_shards=1)
    expect_the_numbers_of_one_process(service, folder / "smaller", study)
    # as many shards as members go round both nodes
    service.roll(folder / "pool", n_shards=N_MEMBERS)
    other = write_small_study(tmp_path / "other.npz", 2)
    expect_the_numbers_of_one_process(service, folder / "pool", other)
    announced = json.loads((folder / "studies" / ".pools" / "present.json").read_text())
    assert announced["settings"]["n_shards"] == N_MEMBERS


def test_whatever_is_killed_no_study_is_lost_changed_or_doubled(service: ServiceUnderTest, tmp_path: Path) -> None:
    counts, killed = attack(service, tmp_path, n_studies=10, n_clients=4, seed=5, n_kills=1, deadline_s=1500)
    assert counts == {"sent": 10, "accepted": 10, "done": 10, "lost": 0, "different": 0, "duplicated": 0}
    assert killed[EVERYTHING] == 1
    assert set(killed) <= {*TARGETS, NODE, EVERYTHING}
