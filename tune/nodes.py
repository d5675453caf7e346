"""What every node of a cluster must have before trials start: this program, what is read, the storage folder."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pool.errors import SettingsError
from tune.cluster import hosts_of_trials
from tune.resources import Resources
from tune.storage import Storage

ANSWER_TIMEOUT_S = 180.0
"""Within which every node must answer [s]; the first answer waits for a worker and for this program's arrival."""
_SHARE = "Put it on a shared volume or object store that every node reaches at the same path."


@dataclass(frozen=True)
class NodeView:
    """What one node sees."""

    fingerprints: Mapping[str, str]
    """Of the folders that trials read, by name; empty where one cannot be read."""
    storage_error: str
    """Why the storage folder is not the driver's or cannot be written; empty where all is well."""


def refuse_unshared(resources: Resources, folders: Mapping[str, Path], storage: Storage) -> None:
    """Refuse a folder to read or a storage folder that not every node shares. Ray must be running.

    A node that joins later is not asked; a trial that cannot work there fails with its own error.

    Args:
        resources: of one trial; nodes too small for it are not asked.
        folders: what trials read, by name in words, such as `labelled set rings`; absolute.
        storage: of the training.

    Raises:
        SettingsError: naming the node and what it lacks.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    hosts = hosts_of_trials(resources, ray.nodes())
    here = ray.get_runtime_context().get_node_id()
    others = {node["NodeID"]: f"node {node['NodeManagerAddress']}" for node in hosts if node["NodeID"] != here}
    if not others:
        return
    marker = f"seen-by-every-node-{uuid.uuid4().hex}"
    storage.write_text(marker, marker)
    look = ray.remote(num_cpus=0, max_retries=0)(view_of_node)
    try:
        asked = {
            node_id: look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
                folders, storage, marker
            )
            for node_id in others
        }
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_TIMEOUT_S)
        answers: dict[str, NodeView | Exception] = {}
        for node_id, reference in asked.items():
            try:
                answers[others[node_id]] = ray.get(reference, timeout=0)
            except Exception as error:  # whatever keeps a node from answering keeps trials from running there
                answers[others[node_id]] = error
    finally:
        storage.remove(marker)
    refuse_views(answers, {name: fingerprint(folder) for name, folder in folders.items()}, storage.name)


def view_of_node(folders: Mapping[str, Path], storage: Storage, marker: str) -> NodeView:
    """Look from this node: runs as a task of Ray.

    Args:
        folders: what trials read, by name; absolute.
        storage: of the training.
        marker: name and content of a file in it.
    """
    try:
        if not storage.exists(marker) or storage.read_text(marker) != marker:
            problem = "another one or none"
        else:
            answer = f"{marker}-{uuid.uuid4().hex}"
            storage.write_text(answer, "")
            storage.remove(answer)
            problem = ""
    except Exception as error:  # of any file system, as a value: the driver says which node it was
        problem = " ".join(str(error).split())
    return NodeView({name: _fingerprint_or_none(folder) for name, folder in folders.items()}, problem)


def refuse_views(answers: Mapping[str, NodeView | Exception], expected: Mapping[str, str], storage_name: str) -> None:
    """Refuse what the nodes saw, in one sentence for the first kind of trouble.

    Args:
        answers: by the node's name; an exception where it gave none.
        expected: the driver's fingerprints of the folders that trials read, by name.
        storage_name: of the storage folder.

    Raises:
        SettingsError: a node did not answer, or lacks something.
    """
    for node, answer in answers.items():
        if isinstance(answer, Exception):
            lines = [line.strip() for line in str(answer).strip().splitlines()] or [type(answer).__name__]
            rule, remedy = "must be able to run a task of this program", "Install the program there, or submit a job."
            raise SettingsError(node, rule, lines[-1].rstrip("."), remedy)
    for node, view in answers.items():
        for name, of_driver in expected.items():
            if isinstance(view, NodeView) and view.fingerprints[name] != of_driver:
                found = f"another one on {node}" if view.fingerprints[name] else f"none on {node}"
                raise SettingsError(name, "must be the same on every node", found, _SHARE)
    for node, view in answers.items():
        if isinstance(view, NodeView) and view.storage_error:
            rule, found = "must be one folder that every node can write", f"{view.storage_error} on {node}"
            remedy = (
                "Name one on a shared volume; a training's --storage may also be a URI, such as s3://bucket/folder."
            )
            raise SettingsError(f"storage folder {storage_name}", rule, found, remedy)


def fingerprint(folder: Path) -> str:
    """Names and sizes of a folder's files and the bytes of its manifests, hashed: tells sets and pools apart without
    reading pixels or weights.

    Raises:
        OSError: the folder cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        if path.suffix == ".json":
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _fingerprint_or_none(folder: Path) -> str:
    try:
        return fingerprint(folder)
    except OSError:
        return ""
