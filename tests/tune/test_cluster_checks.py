"""What is refused in words before a trial of a cluster starts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import ray.exceptions
import torch

from pool.errors import SettingsError
from tests.tune.ray_nodes import free_ports
from tune.cluster import refuse_what_no_node_has, running_ray
from tune.errors import TrainingError
from tune.failures import in_words
from tune.gpu import take_gpu
from tune.nodes import NodeView, fingerprint, refuse_views, view_of_node
from tune.ray_trials import trial_config
from tune.resources import Resources
from tune.settings import TrainingSettings
from tune.storage import Storage


def node(cpus: float, gpus: float = 0.0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("asked", "nodes", "found"),
    [
        (
            Resources(1, 0.2),
            [node(2)],
            "a trial's 1 CPUs and 0.2 GPUs must exist on one node; found 1 node with 2 CPUs",
        ),
        (Resources(1, 2), [node(4, 1), node(4, 1)], "1 CPUs and 2 GPUs must .* found 2 nodes with 4 CPUs and 1 GPUs"),
        (Resources(4, 1), [node(8), node(2, 1)], "found 1 node with 2 CPUs and 1 GPUs, 1 node with 8 CPUs and 0 GPUs"),
        (Resources(1), [node(8, alive=False)], r"found no node\. Ask for less, or start a node that has them before"),
    ],
)
def test_what_no_single_node_has_is_refused(asked: Resources, nodes: list[dict[str, Any]], found: str) -> None:
    with pytest.raises(SettingsError, match=f"resources: .*{found}"):
        refuse_what_no_node_has(asked, nodes)


def test_a_share_of_a_gpu_fits_and_one_and_a_half_is_refused() -> None:
    refuse_what_no_node_has(Resources(1, 0.2), [node(8), node(2, 1)])
    with pytest.raises(SettingsError, match=r"a share of one GPU, up to 1, or a whole number of them; found 1\.5 GPUs"):
        Resources(1, 1.5)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("http://head:8265", "address must be host:port of its head node (6379 unless changed); found http://..."),
        ("ray://head:10001", "Over HTTP a training is submitted as a job: see deploy/cluster/README.md."),
        ("127.0.0.1:{closed}", "Ray cluster: must answer at 127.0.0.1:"),
    ],
)
def test_a_cluster_that_is_none_is_refused_at_once(address: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    address = address.format(closed=free_ports(1)[0])
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(SettingsError, match=re.escape(text)), running_ray(Resources(address=address)):
        pytest.fail("connected")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(SettingsError, match=re.escape(text)), running_ray(Resources()):
        pytest.fail("connected")


def test_a_node_sees_what_is_there_and_says_what_is_not(data: Path, tmp_path: Path) -> None:
    storage = Storage.at(tmp_path / "storage")
    storage.write_text("marker", "marker")
    assert view_of_node({"set": data}, storage, "marker") == NodeView({"set": fingerprint(data)}, "")
    assert storage.names() == ["marker"]
    cut = shutil.copytree(data, tmp_path / "set")
    next(cut.glob("*.npy")).write_bytes(b"short")
    elsewhere = Storage.at(tmp_path / "elsewhere")
    seen = view_of_node({"set": cut}, elsewhere, "marker")
    assert seen.fingerprints["set"] not in ("", fingerprint(data))
    assert seen.storage_error == "another one or none"
    assert view_of_node({"set": tmp_path / "no set"}, elsewhere, "marker").fingerprints == {"set": ""}


OF_DRIVER = {"labelled set set": "same", "pool first": "first"}


def seen_as(of_set: str, of_pool: str, storage_error: str = "") -> NodeView:
    return NodeView(dict(zip(OF_DRIVER, (of_set, of_pool), strict=True)), storage_error)


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (
            seen_as("", "first"),
            "labelled set set: must be the same on every node; found none on node 10.0.0.2. Put it on",
        ),
        (
            seen_as("other", "first"),
            "labelled set set: must be the same on every node; found another one on node 10.0.0.2.",
        ),
        (
            seen_as("same", ""),
            "pool first: must be the same on every node; found none on node 10.0.0.2. Put it on a shared volume",
        ),
        (
            seen_as("same", "first", "another one or none"),
            "storage folder kept: must be one folder that every node can write; found another one or none on node "
            "10.0.0.2. Name one on a shared volume; a training's --storage may also be a URI, such as "
            "s3://bucket/folder.",
        ),
        (
            ray.exceptions.RaySystemError("no worker\nModuleNotFoundError: No module named 'tune'"),
            "node 10.0.0.2: must be able to run a task of this program; found ModuleNotFoundError: No module named "
            "'tune'. Install the program there, or submit a job.",
        ),
    ],
)
def test_a_node_that_lacks_something_is_named(view: NodeView | Exception, text: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(text)):
        refuse_views({"node 10.0.0.1": seen_as("same", "first"), "node 10.0.0.2": view}, OF_DRIVER, "kept")


def test_a_trial_takes_its_share_of_the_memory_and_refuses_a_process_without_cuda(
    tiny: TrainingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for n_gpus in (0.2, 1, 2):
        take_gpu(n_gpus)
    assert shares == [0.2]
    config = trial_config(tiny, Path("set"), Resources(2, 0.2))
    assert (config["device"], config["n_gpus"], config["n_threads"]) == ("cuda", 0.2, 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match=r"0\.2 GPUs a trial need a CUDA build of torch .* train with --gpus 0\."):
        take_gpu(0.2)


DEATH = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
\tpid: 31872
\tip: 10.0.0.2
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) many."""


def test_failures_are_one_clause() -> None:
    assert in_words(ray.exceptions.RayActorError("", DEATH, False, False)) == (
        "its worker process has died on node 10.0.0.2 (Worker unexpectedly exits with a connection error code 2)"
    )
    assert in_words(ValueError("\n  first\nsecond")) == "ValueError: first"
    assert in_words(RuntimeError()) == "RuntimeError"
    assert in_words(SettingsError("slice 2", "must be there")) == "slice 2: must be there"
