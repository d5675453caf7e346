"""Where trainings start from: drawn at random, or from the members of a pool that exists (fine-tuning)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pool.errors import SettingsError
from pool.manifest import MemberEntry, PoolManifest
from pool.weights import load_weights
from tune.recipe import Recipe


@dataclass(frozen=True)
class StartPool:
    """A pool whose members the seeds start from: seed i goes on from the best member of the pool's i-th seed."""

    folder: Path
    """Absolute; the same on every node."""
    sha256: str
    """Of its manifest, hence of all weights."""

    @classmethod
    def at(cls, folder: Path, settings: Recipe) -> StartPool:
        """A pool folder that suits a recipe, its weights verified; asked before Ray starts.

        Args:
            folder: of the pool.
            settings: the recipe, with as many classes as the training's set has.

        Raises:
            PoolFolderError: no pool is there, or weights are missing.
            WeightsHashError: weights that a seed starts from are not those of the manifest.
            SettingsError: its networks are others than the recipe's.
        """
        manifest = PoolManifest.load(folder)
        for member in manifest.members:
            if member.network != settings.network:
                raise SettingsError(
                    f"pool {manifest.name}",
                    f"can be started from only if its networks are the recipe's, {settings.network}",
                    f"{member.network} of {member.id}",
                    "Give the recipe that network, with the classes of the set, or start from another pool.",
                )
        start = cls(folder.resolve(), manifest.sha256())
        for seed in settings.seeds:
            start.weights_of(start.member_of(seed))
        return start

    @classmethod
    def from_config(cls, fields: Mapping[str, Any] | None) -> StartPool | None:
        """From what `to_config` made."""
        return cls(Path(fields["folder"]), fields["sha256"]) if fields else None

    def to_config(self) -> dict[str, str]:
        """Plain values, since Tune stores them."""
        return {"folder": str(self.folder), "sha256": self.sha256}

    def member_of(self, seed: int) -> MemberEntry:
        """The member that a seed starts from: seeds beyond the pool's take turns, ties go by id.

        Raises:
            SettingsError: the folder holds another pool than before.
        """
        manifest = PoolManifest.load(self.folder)
        if manifest.sha256() != self.sha256:
            raise SettingsError(
                f"pool {manifest.name}",
                f"was {self.sha256[:12]} when the training was started",
                manifest.sha256()[:12],
                "Put the first one back, or start another training.",
            )
        seeds = sorted({member.seed for member in manifest.members})
        own = seeds[(seed - 1) % len(seeds)]
        return min(
            (member for member in manifest.members if member.seed == own),
            key=lambda member: (-member.validation_dice, member.id),
        )

    def weights_of(self, member: MemberEntry) -> dict[str, torch.Tensor]:
        """Verified weights of a member of the pool, in the types they are stored in."""
        return load_weights(self.folder, member)
