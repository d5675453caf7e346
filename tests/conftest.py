"""Fixtures shared by all rooms. Ray starts once a session, and only if a test asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import jaxtyping
import pytest
import torch

import tests.shape_check

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Shapes in signatures are checked in every call that a test makes; not where our own errors are the check.
CHECKED = (
    "sweep",
    "moments",
    "patches",
    "networks.mcd_unet",
    "networks.prob_unet",
    "networks.unet",
    "preprocess",
    "resample",
    "localise",
    "contours",
    "analysis",
    "member",
)
jaxtyping.install_import_hook([f"pool.{name}" for name in CHECKED], f"{tests.shape_check.__name__}.check")
torch.set_num_threads(1)  # two spinning threads on a busy machine are slower than one


ALONE = (
    "serve/pacs/test_killed.py",
    "serve/pacs/test_with_orthanc.py",
    "serve/test_two_nodes.py",
    "serve/test_ray_start.py",
)
"""Beside those that take `local_ray`: tests that start clusters or servers, and keep all cores busy by themselves."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell the tests that must have the machine for themselves from those that may run side by side."""
    for item in items:
        if "local_ray" in getattr(item, "fixturenames", ()) or str(item.path).endswith(ALONE):
            item.add_marker("alone")


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A local Ray of 2 CPUs on loopback, stopped with the session."""
    import ray

    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=150_000_000,
        _node_ip_address="127.0.0.1",
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def mlflow_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the session: making its tables takes longer than any test."""
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
