"""Labelled sets on disk: prepared slices with labels and the subject of each, memory-mapped when read.

A folder holds shards (`shard-00000.frames.npy`, `shard-00000.labels.npy`, ...) and `manifest.json`, which is written
last: a folder with a manifest is a whole set. `pool.labelled_set_writer` writes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pool.errors import PoolError

FORMAT_VERSION = 2
"""Layout of the shards and the manifest."""
MANIFEST = "manifest.json"
SIDES = ("training", "validation")
"""Sides of a declared split."""
BASE_LAYERS = ("frames", "labels")
"""Arrays that every shard has."""


@dataclass(frozen=True)
class SliceEntry:
    """What is known of one slice beside its pixels."""

    subject_id: str
    """Pseudonym of the subject; slices of one subject never lie on both sides of a split."""
    name: str
    """Unique in the set; holds no name and no date."""
    level: str | None = None
    """`base`, `mid` or `apex`; None where nobody said."""


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A labelled set on disk. Slice i belongs to subject `subject_ids[i]`: split by subject, never by slice."""

    folder: Path
    """Where it lies."""
    manifest: dict[str, Any]
    """Its manifest."""
    class_names: tuple[str, ...]
    """Names of the labels 0, 1, ...: background and myocardium, and blood pool where it is labelled."""
    entries: tuple[SliceEntry, ...]
    """One a slice."""
    split: dict[str, str] | None
    """`training` or `validation` for every subject, where whoever made the set declared it; else None."""
    frames: tuple[np.ndarray, ...]
    """Memory-mapped shards, float16 `slice time row col` in [0, 1]."""
    labels: tuple[np.ndarray, ...]
    """Memory-mapped shards of expert labels, uint8 `slice row col`."""
    layers: Mapping[str, tuple[np.ndarray, ...]]
    """Memory-mapped shards of further label maps by name, for example a phantom's `anatomical_labels`."""
    starts: np.ndarray
    """Number of the first slice of every shard, and the number of slices: `shard + 1`."""

    @classmethod
    def open(cls, folder: str | Path, verify: bool = False) -> LabelledSet:
        """Open a set.

        Args:
            folder: its folder.
            verify: recompute every shard's SHA-256, which reads everything.

        Raises:
            PoolError: no manifest, another format, or a shard that is missing or not what the manifest says.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        try:
            subjects, names, levels = (manifest["slices"][key] for key in ("subject", "name", "level"))
            entries = tuple(SliceEntry(*row) for row in zip(subjects, names, levels, strict=True))
            class_names, split = tuple(manifest["class_names"]), manifest["split"]
            check_split(subjects, split)
            layers = _open_layers(folder, manifest, verify)
            starts = np.concatenate([[0], np.cumsum([shard["n_slices"] for shard in manifest["shards"]])])
            if starts[-1] != len(entries):
                raise PoolError(f"set {folder.name}", f"needs {starts[-1]} rows of slices", str(len(entries)))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise PoolError(
                f"manifest of {folder.name}", "must have the fields of a labelled set", type(error).__name__
            ) from error
        frames, labels = (layers.pop(name) for name in BASE_LAYERS)
        return cls(folder, manifest, class_names, entries, split, frames, labels, layers, starts)

    def __len__(self) -> int:
        """Number of slices."""
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames float16 `time row col` and expert labels uint8 `row col` of one slice, both memory-mapped."""
        if not 0 <= index < len(self):
            raise IndexError(f"slice {index} of a set of {len(self)}")
        shard = int(np.searchsorted(self.starts, index, side="right")) - 1
        within = index - int(self.starts[shard])
        return self.frames[shard][within], self.labels[shard][within]

    @property
    def subject_ids(self) -> tuple[str, ...]:
        """Subject of every slice."""
        return tuple(entry.subject_id for entry in self.entries)

    @property
    def level_names(self) -> tuple[str | None, ...]:
        """`base`, `mid`, `apex` or None of every slice."""
        return tuple(entry.level for entry in self.entries)

    def content_sha256(self) -> str:
        """Hash of all that a training depends on: pixels, labels, classes, subjects and split."""
        digest = hashlib.sha256()
        for shard in self.manifest["shards"]:
            for name in BASE_LAYERS:
                digest.update(shard["files"][name]["sha256"].encode())
        facts = [self.class_names, [asdict(entry) for entry in self.entries], self.split]
        digest.update(json.dumps(facts, sort_keys=True).encode())
        return digest.hexdigest()


def check_split(subject_ids: Iterable[str], split: Mapping[str, str] | None) -> None:
    """Refuse a split that leaves a subject without a side, or a side without a subject.

    Raises:
        PoolError: it does, or names another side than training and validation.
    """
    if split is None:
        return
    subjects = set(subject_ids)
    if unknown := sorted(set(split.values()) - set(SIDES)):
        raise PoolError("split", f"sides are {' and '.join(SIDES)}", ", ".join(unknown))
    if missing := subjects - split.keys():
        raise PoolError("split", "needs a side for every subject", f"none for {len(missing)} of {len(subjects)}")
    for side in SIDES:
        if side not in {split[subject] for subject in subjects}:
            raise PoolError("split", f"needs at least one {side} subject", "none", "Move a subject to that side.")


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise PoolError(f"folder {folder.name}", f"a labelled set has a {MANIFEST}", "none", "Was writing interrupted?")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PoolError(f"manifest of {folder.name}", "must be readable JSON", type(error).__name__) from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT_VERSION:
        remedy = "Make the set again, in another folder."
        raise PoolError(f"folder {folder.name}", f"must have format {FORMAT_VERSION}", repr(found), remedy)
    return dict(manifest)


def _open_layers(folder: Path, manifest: dict[str, Any], verify: bool) -> dict[str, tuple[np.ndarray, ...]]:
    """Memory maps of every shard, by layer; all shards have the layers of the first one."""
    names = tuple(manifest["shards"][0]["files"])
    layers: dict[str, list[np.ndarray]] = {name: [] for name in names}
    shape = tuple(manifest["shape"])
    for shard in manifest["shards"]:
        for name, stored in layers.items():
            file = folder / Path(shard["files"][name]["name"]).name
            if not file.is_file():
                raise PoolError(f"shard {file.name}", "is named in the manifest and must exist", "no such file")
            if verify and sha256_of_file(file) != shard["files"][name]["sha256"]:
                raise PoolError(f"shard {file.name}", "must have the SHA-256 of the manifest", "another one")
            wanted = (shard["n_slices"], *(shape if name == "frames" else shape[1:]))
            stored.append(_memory_map(file, wanted, np.float16 if name == "frames" else np.uint8))
    return {name: tuple(stored) for name, stored in layers.items()}


def _memory_map(file: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise PoolError(f"shard {file.name}", "must be a whole .npy file", type(error).__name__) from error
    if array.shape != shape or array.dtype != dtype:
        found = f"{array.dtype} {array.shape}"
        raise PoolError(f"shard {file.name}", f"must hold {np.dtype(dtype).name} {shape}", found)
    return array
