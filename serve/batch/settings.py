"""What a cohort is analysed with. A folder of results belongs to one of these: two would make a table of two minds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pool import __version__
from pool.analysis import AnalysisSettings
from pool.errors import OutputError, PoolFolderError, SettingsError
from pool.manifest import PoolManifest
from serve.durable import replace_file

SETTINGS_NAME = "batch.json"


@dataclass(frozen=True)
class BatchSettings:
    """A pool and settings of an analysis, and where its results go."""

    out_dir: Path
    """Folder of the results; every node must see it at this path."""
    pool_dir: Path
    """Folder of the pool; likewise."""
    pool_name: str
    pool_sha256: str
    """Hash of the manifest; a folder that holds another pool by then is refused."""
    n_members: int
    analysis: AnalysisSettings
    """What decides the numbers."""

    @classmethod
    def of(cls, out_dir: Path, pool_dir: Path, manifest: PoolManifest, analysis: AnalysisSettings) -> BatchSettings:
        """The settings of a pool folder with this manifest."""
        return cls(out_dir, pool_dir, manifest.name, manifest.sha256(), len(manifest.of_patches), analysis)

    @property
    def studies_dir(self) -> Path:
        """Holds a folder of results a study."""
        return self.out_dir / "studies"

    @property
    def ledger_dir(self) -> Path:
        """Holds an entry a study that has ended."""
        return self.out_dir / "ledger"

    def identity(self) -> dict[str, Any]:
        """What must be equal in every run into the same folder."""
        return {
            "pool": self.pool_name,
            "pool_sha256": self.pool_sha256,
            "rule": self.analysis.rule,
            "settings_sha256": self.analysis.sha256(),
            "software": f"perfusion-pool {__version__}",
        }

    def claim_folder(self) -> None:
        """Write down in the results folder what it is for, or see that it is for this.

        Raises:
            SettingsError: it holds results of another pool, other settings or another version.
            OutputError: it cannot be written, or holds something else.
        """
        path = self.out_dir / SETTINGS_NAME
        try:
            self.out_dir.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                if foreign := sorted(entry.name for entry in self.out_dir.iterdir()):
                    raise OutputError(
                        f"folder {self.out_dir.name}",
                        "must be new, empty or hold an earlier run's results",
                        foreign[0],
                        "Give another --out.",
                    )
                replace_file(path, (json.dumps(self.identity(), indent=1) + "\n").encode(), sync=True)
        except OSError as error:
            raise OutputError(f"folder {self.out_dir.name}", "must be writable", error.strerror or "") from error
        self.refuse_other_folder()

    def check_node(self) -> None:
        """See that this node sees what the run began with.

        Raises:
            SettingsError: see `refuse_other_folder`.
            PoolFolderError: no pool here, or another one.
        """
        self.refuse_other_folder()
        manifest = PoolManifest.load(self.pool_dir)
        if manifest.sha256() != self.pool_sha256:
            raise PoolFolderError(
                f"pool {manifest.name}",
                "must be the same on every node",
                "another manifest",
                "Put it on a shared volume.",
            )

    def refuse_other_folder(self) -> None:
        """See that the results folder, as this node sees it, is this run's.

        Raises:
            SettingsError: it is not there, or for other results.
        """
        try:
            found = dict(json.loads((self.out_dir / SETTINGS_NAME).read_text()))
        except (OSError, ValueError) as error:
            rule = "must be a folder that every node sees at the same path"
            raise SettingsError(
                "--out", rule, f"{type(error).__name__} on one", "Put it on a shared volume."
            ) from error
        for name, value in self.identity().items():
            if found.get(name) != value:
                raise SettingsError(
                    f"--out, {name} of the results in it",
                    f"must be that of this run, {value}",
                    str(found.get(name)),
                    "Give another --out, or the pool, options and version that it was begun with.",
                )
