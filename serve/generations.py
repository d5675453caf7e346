"""Which pool is the present one: studies that come in now are for it; others finish on the pool they came in for.

    <store>/.pools/present.json   name of the pool's application in Ray Serve, and the settings it works with

Written at start and by `python -m serve roll`, read by the front whenever it has changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pool.asl.analysis import AslAnalysisSettings
from pool.errors import PoolError, SettingsError
from pool.manifest import PoolManifest
from serve.durable import replace_file
from serve.settings import ServiceSettings
from serve.silence import in_short
from serve.store.basis import Basis

_log = logging.getLogger(__name__)


class Runner(Protocol):
    """Works on the studies of the store, somewhere else."""

    async def wake(self) -> None:
        """There is a new study."""
        ...

    async def stop(self, study_id: str) -> None:
        """A study is no longer wanted."""
        ...

    async def ready(self) -> list[str]:
        """What keeps the service from being ready."""
        ...

    async def metrics(self) -> str:
        """What it measures, in Prometheus' text format."""
        ...


@dataclass(frozen=True)
class Generation:
    """A pool at work."""

    settings: ServiceSettings
    """What it works with."""
    manifest: PoolManifest
    """Who is in the pool."""
    runner: Runner
    """Takes up its studies."""

    @property
    def basis(self) -> Basis:
        """Pool and settings."""
        return basis_of(self.settings, self.manifest)

    def itself(self) -> Generation:
        """For whoever asks for the present one where it never changes."""
        return self


def basis_of(settings: ServiceSettings, manifest: PoolManifest) -> Basis:
    """Pool and settings of a generation.

    Where a pool has members for ASL, its settings count for perfusion studies too: what a study is, is known only once
    it has been read, and the same bytes are recognised before.
    """
    of_analysis = settings.analysis.sha256()
    if manifest.of_trials:
        of_analysis = hashlib.sha256(f"{of_analysis}/{asl_of(settings, manifest).sha256()}".encode()).hexdigest()
    return Basis(manifest.sha256(), of_analysis)


def asl_of(settings: ServiceSettings, manifest: PoolManifest) -> AslAnalysisSettings:
    """What decides the numbers of ASL studies of a generation."""
    return settings.asl(manifest, settings.threads_per_shard, settings.device)


def application_of(basis: Basis) -> str:
    """Name of a generation's application in Ray Serve."""
    return f"pool-{basis.key}"


@dataclass(frozen=True)
class Announcement:
    """What stands in the file."""

    application: str
    """Name of the application."""
    settings: ServiceSettings
    """What it works with."""


def announce(studies_dir: Path, announcement: Announcement) -> None:
    """Make a generation the present one, at once and for good."""
    fields = {
        "application": announcement.application,
        "settings": announcement.settings.model_dump(mode="json"),
    }
    replace_file(_place(studies_dir), json.dumps(fields).encode(), sync=True)


def announced(studies_dir: Path) -> Announcement | None:
    """The present generation; None where none was announced.

    Raises:
        SettingsError: settings of another version of this software.
    """
    try:
        fields = json.loads(_place(studies_dir).read_text())
    except FileNotFoundError:
        return None
    return Announcement(fields["application"], ServiceSettings(**fields["settings"]))


class Generations:
    """The present generation, whatever changes.

    Args:
        studies_dir: folder of the study store.
        reach: the runner in an application of that name.
    """

    def __init__(self, studies_dir: Path, reach: Callable[[str], Runner]) -> None:
        self._studies_dir, self._reach = studies_dir, reach
        self._present: Generation | None = None
        self._stamp = (0, 0)
        self.present()

    def present(self) -> Generation:
        """The one that studies come in for now; one that cannot be read leaves the one before.

        Raises:
            PoolError: there was none before.
        """
        if (stamp := self._stamp_now()) != self._stamp:
            try:
                if (found := announced(self._studies_dir)) is not None:
                    manifest = PoolManifest.load(found.settings.pool_dir)
                    self._present = Generation(found.settings, manifest, self._reach(found.application))
                self._stamp = stamp
            except (PoolError, OSError, ValueError, KeyError) as error:
                if self._present is None:
                    raise
                _log.error("the pool stays the one before: %s", in_short(error))
        if self._present is None:
            raise SettingsError("study store", "must name the pool that studies come in for", "none")
        return self._present

    def _stamp_now(self) -> tuple[int, int]:
        try:
            found = _place(self._studies_dir).stat()
        except OSError:
            return (0, 0)
        return (found.st_mtime_ns, found.st_ino)


def _place(studies_dir: Path) -> Path:
    return studies_dir / ".pools" / "present.json"
