"""A front without a network, and a runner that works when it is told to."""

from __future__ import annotations

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from pool.manifest import PoolManifest
from pool.preprocess import PreprocessSettings
from serve.generations import Generation
from serve.http.front import Front
from serve.http.ingress import create_app
from serve.monitoring.work import WorkMetrics
from serve.runner import StudyRunner
from serve.settings import ServiceSettings
from tests.samples import bolus_frames
from tests.serve.fakes import FakeShard, PlainReader, manifest_of, maps_of, selector_of


class FakeRunner:
    """Hears everything; is ready unless told otherwise."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.complaints: list[str] = []
        self.deaf = False

    async def wake(self) -> None:
        if self.deaf:
            raise ConnectionError
        self.heard.append("wake")

    async def stop(self, study_id: str) -> None:
        self.heard.append(f"stop {study_id}")

    async def ready(self) -> list[str]:
        if self.deaf:
            await asyncio.Event().wait()
        return self.complaints

    async def metrics(self) -> str:
        if self.deaf:
            raise ConnectionError
        return "of_the_selector 1.0\n"


def front_of(settings: ServiceSettings, manifest: PoolManifest, runner: FakeRunner) -> Front:
    """A front before one pool."""
    return Front(settings, Generation(settings, manifest, runner).itself, PlainReader())


class Service:
    """A front without a network, and the runner behind it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = ServiceSettings(pool_dir=folder / "pool", studies_dir=folder / "studies", **settings)
        self.runner = FakeRunner()
        self.front = front_of(self.settings, manifest_of(2), self.runner)
        self.http = TestClient(create_app(self.front), "http://127.0.0.1", raise_server_exceptions=False)

    def work(self) -> WorkMetrics:
        """Take every accepted study to its end; returns what was measured."""
        selector = selector_of([FakeShard(lambda member_id: maps_of(member_id, 128))], 2)
        runner = StudyRunner(
            self.front.store, selector, PlainReader(), PreprocessSettings(), self.front.present().basis, 1
        )
        for record in self.front.store.unfinished():
            asyncio.run(runner.run(record))
        return runner.metrics

    def kept(self) -> list[str]:
        """Everything in the study store but the folders that every store has."""
        own = {".incoming", ".known", ".pools", ".lock"}
        return [path.name for path in (self.folder / "studies").rglob("*") if path.name not in own]


def npz(**changed: np.ndarray) -> bytes:
    frames = bolus_frames(n_frames=12)[None]
    content = {"frames": frames, "times_s": np.arange(float(frames.shape[1])), "pixel_spacing_mm": np.array([1.9, 1.9])}
    buffer = io.BytesIO()
    np.savez(buffer, **{**content, **changed})
    return buffer.getvalue()


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return buffer.getvalue()
