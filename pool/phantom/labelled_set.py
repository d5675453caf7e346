"""Labelled sets on disk: shards of slices with a manifest, streamed when written, memory-mapped when read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pool.errors import OutputError, PoolError, SettingsError
from pool.phantom.presets import Preset
from pool.phantom.ranges import LEVELS, N_LEVELS
from pool.phantom.slices import IMAGE_PX, N_FRAMES, make_labelled_slices

FORMAT_VERSION = 1
"""Layout of the shards and the manifest."""
SIMULATOR_VERSION = 1
"""Rises whenever the same seed gives other pixels."""
MANIFEST = "manifest.json"


def shard_seed(seed: int, shard: int) -> int:
    """Seed of one shard: shards are independent, so they can be made in any order or in parallel."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{shard}".encode()).digest()[:7], "little")


def write_labelled_set(
    out_dir: str | Path,
    preset: Preset,
    n_slices: int,
    seed: int,
    shard_size: int = 300,
    on_progress: Callable[[int, int], None] | None = None,
    device: torch.device | str = "cpu",
) -> LabelledSet:
    """Simulate slices and write them as shards; memory stays that of one shard.

    Args:
        out_dir: a folder that is new or empty.
        preset: population and scanner.
        n_slices: a multiple of 3, since every subject has three slices.
        seed: at least 0; the same seed gives the same bytes on one machine.
        shard_size: slices a shard, a multiple of 3.
        on_progress: called with slices written so far and in all.
        device: where to simulate.

    Raises:
        SettingsError: sizes that are not positive multiples of 3, or a negative seed.
        OutputError: the folder holds something already.
    """
    for subject, value in (("number of slices", n_slices), ("shard size", shard_size)):
        if value < N_LEVELS or value % N_LEVELS:
            raise SettingsError(
                subject, f"must be a positive multiple of {N_LEVELS}, the slices of a heart", str(value)
            )
    if seed < 0:
        raise SettingsError("seed", "must not be negative", str(seed))
    folder = Path(out_dir)
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"folder {folder.name}", "must be new or empty", remedy="Choose another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, Any]] = []
    for number, first in enumerate(range(0, n_slices, shard_size)):
        n = min(shard_size, n_slices - first)
        generator = torch.Generator().manual_seed(shard_seed(seed, number))
        made = make_labelled_slices(preset, n, generator, device)
        arrays = {
            "frames": made.frames.half().cpu().numpy(),
            "labels": made.labels.cpu().numpy(),
            "anatomical_labels": made.anatomical_labels.cpu().numpy(),
        }
        entry: dict[str, Any] = {"n_slices": n, "first_subject": first // N_LEVELS, "files": {}}
        for name, array in arrays.items():
            path = folder / f"shard-{number:05d}.{name}.npy"
            np.save(path, array)
            entry["files"][name] = {"name": path.name, "sha256": _sha256(path)}
        shards.append(entry)
        if on_progress is not None:
            on_progress(first + n, n_slices)
    manifest = {
        "format": FORMAT_VERSION,
        "simulator": SIMULATOR_VERSION,
        "preset": preset.name,
        "preset_sha256": preset.content_sha256(),
        "seed": seed,
        "n_slices": n_slices,
        "n_subjects": n_slices // N_LEVELS,
        "shape": [N_FRAMES, IMAGE_PX, IMAGE_PX],
        "shards": shards,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return LabelledSet.open(folder)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """A labelled set on disk. Slice i belongs to subject `subject_ids[i]`: split by subject, never by slice."""

    folder: Path
    """Where it lies."""
    manifest: dict[str, Any]
    """Its manifest."""
    frames: tuple[np.ndarray, ...]
    """Memory-mapped shards, float16 `slice time row col` in [0, 1]."""
    labels: tuple[np.ndarray, ...]
    """Memory-mapped shards of expert labels, uint8 `slice row col`."""
    anatomical_labels: tuple[np.ndarray, ...]
    """Memory-mapped shards of labels by tissue, uint8 `slice row col`."""
    starts: np.ndarray
    """Number of the first slice of every shard, and the number of slices: `shard + 1`."""

    @classmethod
    def open(cls, folder: str | Path, verify: bool = False) -> LabelledSet:
        """Open a set that `write_labelled_set` wrote.

        Args:
            folder: its folder.
            verify: recompute every shard's SHA-256, which reads everything.

        Raises:
            PoolError: no manifest, another format, or a shard that is missing or not what the manifest says.
        """
        folder = Path(folder)
        path = folder / MANIFEST
        if not path.is_file():
            raise PoolError(
                f"folder {folder.name}", f"a labelled set has a {MANIFEST}", "none", "Was writing interrupted?"
            )
        manifest = json.loads(path.read_text())
        if manifest.get("format") != FORMAT_VERSION:
            raise PoolError(f"folder {folder.name}", f"must have format {FORMAT_VERSION}", repr(manifest.get("format")))
        arrays: dict[str, list[np.ndarray]] = {"frames": [], "labels": [], "anatomical_labels": []}
        for shard in manifest["shards"]:
            for name, stored in arrays.items():
                file = folder / Path(shard["files"][name]["name"]).name
                if not file.is_file():
                    raise PoolError(f"shard {file.name}", "is named in the manifest and must exist", "no such file")
                if verify and _sha256(file) != shard["files"][name]["sha256"]:
                    raise PoolError(f"shard {file.name}", "must have the SHA-256 of the manifest", "another one")
                stored.append(np.load(file, mmap_mode="r", allow_pickle=False))
        starts = np.concatenate([[0], np.cumsum([shard["n_slices"] for shard in manifest["shards"]])])
        return cls(
            folder,
            manifest,
            tuple(arrays["frames"]),
            tuple(arrays["labels"]),
            tuple(arrays["anatomical_labels"]),
            starts,
        )

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
    def subject_ids(self) -> np.ndarray:
        """Subject of every slice, int64 `slice`."""
        return np.arange(len(self)) // N_LEVELS

    @property
    def level_names(self) -> tuple[str, ...]:
        """`base`, `mid` or `apex` of every slice."""
        return tuple(LEVELS[i % N_LEVELS] for i in range(len(self)))
