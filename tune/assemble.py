"""From checkpoints to a pool: which checkpoints become members, and the folder they are written to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors.torch import load_file

from pool.errors import OutputError
from pool.manifest import MANIFEST_NAME, MemberEntry, PoolManifest, save_manifest
from pool.weights import save_weights
from tune.errors import TooFewMembersError
from tune.recipe import Recipe
from tune.training import EpochReport

CHECKPOINT_MEMBER = "member"
"""Name of the weights in a checkpoint's folder, without `.safetensors`."""
_WEIGHTS = re.compile(r"s\d+-e\d+\.safetensors|\.(s\d+-e\d+\.safetensors|manifest\.json)\.partial")
"""Files of a pool that is not whole yet."""


class CheckpointFolder(Protocol):
    """Where a checkpoint lies; `ray.tune.Checkpoint` is one, and fetches it from remote storage."""

    def as_directory(self) -> Any:
        """Context manager that gives a local folder."""


@dataclass(frozen=True)
class LocalFolder:
    """A checkpoint in a folder of this machine."""

    path: Path

    @contextmanager
    def as_directory(self) -> Iterator[str]:
        """The folder itself."""
        yield str(self.path)


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that may become a member."""

    report: EpochReport
    """Seed, epoch, loss and validation Dice."""
    folder: CheckpointFolder
    """Holds `member.safetensors`."""

    @property
    def member_id(self) -> str:
        """Its id as a member: `s1-e04` is epoch 4 of seed 1."""
        return f"s{self.report.seed}-e{self.report.epoch:02d}"


def choose_members(candidates: Sequence[Candidate], settings: Recipe) -> tuple[Candidate, ...]:
    """Per seed `n_checkpoints` of those that reach the floor, spread over the training, best first.

    The eligible checkpoints of a seed, by epoch, are cut into `n_checkpoints` runs of equal length; the best of each
    run is taken (the later one of two equals). So late checkpoints, which resemble each other, cannot fill the pool.

    Raises:
        TooFewMembersError: a seed has too few eligible checkpoints.
    """
    chosen: list[Candidate] = []
    for seed in settings.seeds:
        of_seed = sorted((c for c in candidates if c.report.seed == seed), key=lambda c: c.report.epoch)
        eligible = [c for c in of_seed if c.report.validation_dice >= settings.least_validation_dice]
        if len(eligible) < settings.n_checkpoints:
            raise TooFewMembersError(
                f"seed {seed}",
                f"needs {settings.n_checkpoints} checkpoints with a validation Dice of at least "
                f"{settings.least_validation_dice:g}",
                f"{len(eligible)} of {len(of_seed)}: {_table(of_seed)}",
                "Train longer or on more slices, ask for fewer checkpoints, or lower the floor.",
            )
        runs = np.array_split(np.arange(len(eligible)), settings.n_checkpoints)
        best = [
            max((eligible[i] for i in run), key=lambda c: (c.report.validation_dice, c.report.epoch)) for run in runs
        ]
        chosen += sorted(best, key=lambda c: -c.report.validation_dice)
    return tuple(chosen)


def refuse_used_folder(out_dir: Path, may_be_cut_short: bool) -> None:
    """Refuse a folder that is no folder or is in use; asked before training, not after.

    Args:
        out_dir: the pool folder.
        may_be_cut_short: whether weights without a manifest may lie there: whoever wrote them was killed.

    Raises:
        OutputError: it is.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise OutputError(f"pool folder {out_dir.name}", "must be a folder", "a file")
    names = [path.name for path in out_dir.iterdir()] if out_dir.is_dir() else []
    if names and not (may_be_cut_short and all(map(_WEIGHTS.fullmatch, names))):
        found = "a pool" if (out_dir / MANIFEST_NAME).exists() else "other files"
        raise OutputError(
            f"pool folder {out_dir.name}", "must be new or empty", found, "Name another folder, or empty it."
        )


def write_pool(
    out_dir: Path,
    name: str,
    chosen: Sequence[Candidate],
    settings: Recipe,
    data_sha256: str,
    half_weights: bool = False,
    start_sha256: str | None = None,
) -> PoolManifest:
    """Write weights, then the manifest: a folder with a manifest is a whole pool.

    Args:
        out_dir: new or empty, or with weights but no manifest, which are removed.
        name: of the pool.
        chosen: the members.
        settings: go into the manifest with their hash.
        data_sha256: hash of the labelled set.
        half_weights: store filters as float16, see `pool.weights.save_weights`.
        start_sha256: hash of the pool that the members were trained from, if they were.

    Raises:
        OutputError: the folder is in use or cannot be written.
    """
    refuse_used_folder(out_dir, may_be_cut_short=True)
    members = []
    try:
        if out_dir.is_dir():
            for left_over in out_dir.iterdir():
                left_over.unlink()
        for candidate in chosen:
            with candidate.folder.as_directory() as folder:
                weights = load_file(Path(folder) / f"{CHECKPOINT_MEMBER}.safetensors")
            members.append(
                MemberEntry(
                    id=candidate.member_id,
                    seed=candidate.report.seed,
                    epoch=candidate.report.epoch,
                    validation_dice=candidate.report.validation_dice,
                    network=settings.network,
                    weights_sha256=save_weights(out_dir, candidate.member_id, weights, half_weights),
                )
            )
        provenance = {
            "data_sha256": data_sha256,
            "settings": settings.to_dict(),
            "settings_sha256": settings.sha256(),
            "software": software(),
            **({"start_sha256": start_sha256} if start_sha256 else {}),
        }
        manifest = PoolManifest(name, tuple(members), provenance)
        save_manifest(out_dir, manifest)
    except OSError as error:
        found, remedy = error.strerror or str(error), "Mend that; a training with --storage goes on with --resume."
        raise OutputError(f"pool folder {out_dir.name}", "must be writable", found, remedy) from error
    return manifest


def software() -> str:
    """Name and version of this code."""
    from pool import __version__

    return f"perfusion-pool {__version__}"


def _table(candidates: Sequence[Candidate]) -> str:
    rows = [f"epoch {c.report.epoch} {c.report.validation_dice:.3f}" for c in candidates]
    return ", ".join(rows) if rows else "no checkpoint at all"
