"""A pool on disk: `manifest.json` and one safetensors file a member. Hashes are verified whenever weights are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pool.calibration import Calibration
from pool.errors import PoolFolderError, SettingsError
from pool.networks import PATCH_KIND, NetworkSpec
from pool.weights import load_weights, write_whole

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class MemberEntry:
    """One row of the manifest: everything about a member but its weights.

    Raises:
        PoolFolderError: an id that is not a plain name (it becomes a file name), or fields out of range.
    """

    id: str
    seed: int
    """Seed of the training run's initialisation."""
    epoch: int
    """Epoch of the checkpoint, from 1."""
    validation_dice: float
    """Myocardial Dice on the validation set, in [0, 1]."""
    network: NetworkSpec
    weights_sha256: str
    """SHA-256 of the safetensors file."""
    calibration: Calibration | None = None
    """From the member's score to the Dice to expect; members of mixed pools have one."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _SAFE_ID.fullmatch(self.id):
            raise PoolFolderError("manifest", "a member's id must be letters, digits, dots and dashes", repr(self.id))
        if not isinstance(self.weights_sha256, str) or not _SHA256.fullmatch(self.weights_sha256):
            raise PoolFolderError(
                f"member {self.id}", "weights_sha256 must be 64 hexadecimal digits", repr(self.weights_sha256)
            )
        if not isinstance(self.validation_dice, int | float) or not 0.0 <= self.validation_dice <= 1.0:
            raise PoolFolderError(f"member {self.id}", "validation Dice lies in [0, 1]", repr(self.validation_dice))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields; a calibration only where there is one: hashes of pools without stay as they were."""
        fields = asdict(self)
        fields["calibration"] = None if self.calibration is None else self.calibration.to_dict()
        return {name: value for name, value in fields.items() if name != "calibration" or value is not None}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> MemberEntry:
        """From JSON fields."""
        found = {**fields, "network": NetworkSpec.from_dict(fields["network"])}
        if "calibration" in fields:
            found["calibration"] = Calibration.from_dict(fields["calibration"])
        return cls(**found)

    @property
    def weights_name(self) -> str:
        """File name of the weights inside the pool folder."""
        return f"{self.id}.safetensors"


@dataclass(frozen=True)
class PoolManifest:
    """Who is in a pool and what it was made from.

    Raises:
        PoolFolderError: no members, or two with the same id.
    """

    name: str
    members: tuple[MemberEntry, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    """Free facts: training data and its hash, settings, code version."""

    def __post_init__(self) -> None:
        if not self.members:
            raise PoolFolderError(f"pool {self.name}", "needs at least one member", "none")
        ids = [member.id for member in self.members]
        if len(set(ids)) < len(ids):
            raise PoolFolderError(f"pool {self.name}", "member ids must differ", ", ".join(ids))

    @property
    def n_members(self) -> int:
        """Number of members."""
        return len(self.members)

    @property
    def of_patches(self) -> tuple[MemberEntry, ...]:
        """Those that sweep patches of perfusion slices."""
        return tuple(member for member in self.members if member.network.kind == PATCH_KIND)

    @property
    def of_trials(self) -> tuple[MemberEntry, ...]:
        """Those that answer by trials about ASL images."""
        return tuple(member for member in self.members if member.network.kind != PATCH_KIND)

    def require_patches(self) -> None:
        """Refuse a pool that cannot outline perfusion slices.

        Raises:
            SettingsError: no members that sweep patches.
        """
        if not self.of_patches:
            remedy = "Its members outline ASL studies: `python -m pool asl`."
            raise SettingsError(f"pool {self.name}", "needs members that sweep patches", "trials alone", remedy)

    def require_trials(self) -> None:
        """Refuse a pool that cannot outline ASL images.

        Raises:
            SettingsError: no members of trials.
        """
        if not self.of_trials:
            remedy = "Make one with `python -m tune asl train` and `python -m tune asl mix`."
            raise SettingsError(f"pool {self.name}", "needs members of trials for ASL", "patches alone", remedy)

    def entry_of(self, member_id: str | None = None) -> MemberEntry:
        """A member by its id; without one, that with the best validation Dice, the first by id of equals.

        Raises:
            PoolFolderError: no member has that id.
        """
        if member_id is None:
            return min(self.members, key=lambda member: (-member.validation_dice, member.id))
        for member in self.members:
            if member.id == member_id:
                return member
        known = ", ".join(member.id for member in self.members)
        raise PoolFolderError(f"pool {self.name}", f"has the members {known}", repr(member_id))

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON-ready fields."""
        members = [member.to_dict() for member in self.members]
        return {"manifest_version": MANIFEST_VERSION, **asdict(self), "members": members}

    def sha256(self) -> str:
        """Hash of the manifest, hence of every member's weights: the pool's identity in every result."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> PoolManifest:
        """The manifest from JSON fields.

        Raises:
            PoolFolderError: another version, or fields that are missing or unknown.
        """
        try:
            version = fields["manifest_version"]
            if version != MANIFEST_VERSION:
                raise PoolFolderError("manifest", f"version must be {MANIFEST_VERSION}", repr(version))
            members = tuple(map(MemberEntry.from_dict, fields["members"]))
            return cls(fields["name"], members, fields["provenance"])
        except (KeyError, TypeError, AttributeError, SettingsError) as error:
            raise PoolFolderError("manifest", "has missing or unknown fields", str(error)) from error

    @classmethod
    def load(cls, folder: Path) -> PoolManifest:
        """Read a pool folder's manifest; weights are verified by `load_weights`.

        Raises:
            PoolFolderError: no folder, no manifest, or one that cannot be read.
        """
        path = Path(folder) / MANIFEST_NAME
        if not path.is_file():
            raise PoolFolderError(
                f"pool folder {Path(folder).name}",
                f"needs a {MANIFEST_NAME}",
                "none",
                "Train a pool or give its folder.",
            )
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise PoolFolderError(
                f"manifest of {path.parent.name}", "must be readable JSON", type(error).__name__, "Get the pool again."
            ) from error
        if not isinstance(fields, dict):
            raise PoolFolderError(f"manifest of {path.parent.name}", "must be a JSON object", type(fields).__name__)
        return cls.from_dict(fields)


def save_manifest(folder: Path, manifest: PoolManifest) -> None:
    """Write the manifest last, so that a folder with a manifest is a whole pool."""
    text = json.dumps(manifest.to_dict(), indent=1, sort_keys=True) + "\n"
    write_whole(Path(folder) / MANIFEST_NAME, text.encode())


def verify_pool(folder: Path, members: Sequence[str] | None = None) -> PoolManifest:
    """Load the manifest and check the weights of the given members (default: all) without building networks.

    Raises:
        PoolFolderError, WeightsHashError: see `PoolManifest.load` and `load_weights`.
    """
    manifest = PoolManifest.load(folder)
    for entry in manifest.members:
        if members is None or entry.id in members:
            load_weights(folder, entry)
    return manifest
