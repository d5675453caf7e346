"""Write a labelled set as a stream of slices: whole or not at all, in the memory of one shard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pool.errors import OutputError, SettingsError
from pool.labelled_set import (
    BASE_LAYERS,
    FORMAT_VERSION,
    MANIFEST,
    LabelledSet,
    SliceEntry,
    check_split,
    sha256_of_file,
)
from pool.shapes import CLASS_NAMES

SHARD_SLICES = 60
"""Slices of a shard unless asked for otherwise: 59 MB of frames."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """Slices that wait for their shard to fill."""

    arrays: dict[str, np.ndarray]
    entries: tuple[SliceEntry, ...]


class LabelledSetWriter:
    """Context manager: `add` slices, then `finish`. Leaving the block without `finish` removes all that was written.

    Args:
        out_dir: a folder that is new or empty.
        class_names: names of the labels 0, 1, ...
        shard_size: slices after which a shard is written.
        layers: names of further label maps that every slice brings.

    Raises:
        OutputError: the folder holds something already, or cannot be written.
    """

    def __init__(
        self,
        out_dir: str | Path,
        class_names: Sequence[str] = CLASS_NAMES,
        shard_size: int = SHARD_SLICES,
        layers: Sequence[str] = (),
    ) -> None:
        self.folder, self._class_names, self._shard_size = Path(out_dir), tuple(class_names), shard_size
        self._layers = (*BASE_LAYERS, *layers)
        self._waiting: list[_Batch] = []
        self._entries: list[SliceEntry] = []
        self._names: set[str] = set()
        self._shape: tuple[int, ...] = ()
        self._shards: list[dict[str, Any]] = []
        self._written: list[Path] = []
        self._finished = False
        with _writing(self.folder):
            self._made_folder = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.iterdir()):
                raise OutputError(f"folder {self.folder.name}", "must be new or empty", remedy="Choose another folder.")

    def __enter__(self) -> LabelledSetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._finished:
            return
        for path in self._written:
            path.unlink(missing_ok=True)
        if self._made_folder:
            with suppress(OSError):  # somebody else put something into it
                self.folder.rmdir()

    def add(
        self,
        frames: np.ndarray,
        labels: np.ndarray,
        entries: Sequence[SliceEntry],
        layers: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Add slices.

        Args:
            frames: `slice time row col` in [0, 1], stored as float16.
            labels: `slice row col`, each below the number of classes, stored as uint8.
            entries: one a slice, names unlike any before.
            layers: the further label maps by name, `slice row col`.

        Raises:
            SettingsError: arrays that do not belong together, a label without a class, or a name twice.
            OutputError: a full shard that cannot be written.
        """
        arrays = {"frames": frames, "labels": labels, **(layers or {})}
        if tuple(arrays) != self._layers:
            raise SettingsError("labelled set", f"every slice has {', '.join(self._layers)}", ", ".join(arrays))
        self._shape = shape = self._shape or frames.shape[1:]
        for name, array in arrays.items():
            wanted = (len(entries), *(shape if name == "frames" else shape[1:]))
            if array.shape != wanted:
                raise SettingsError(
                    "labelled set", f"{name} of these slices must have shape {wanted}", f"{array.shape}"
                )
        if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(self._class_names):
            found = f"{labels.min()} to {labels.max()}"
            raise SettingsError("labelled set", f"labels lie from 0 to {len(self._class_names) - 1}", found)
        self._names |= {entry.name for entry in entries}
        if len(self._names) < len(self._entries) + len(entries):
            raise SettingsError("labelled set", "names of slices must differ", "one twice")
        stored = {
            name: a.astype(np.float16 if name == "frames" else np.uint8, copy=False) for name, a in arrays.items()
        }
        self._waiting.append(_Batch(stored, tuple(entries)))
        self._entries += entries
        if sum(len(batch.entries) for batch in self._waiting) >= self._shard_size:
            self._write_shard()

    def finish(self, split: Mapping[str, str] | None = None, origin: Mapping[str, Any] | None = None) -> LabelledSet:
        """Write what waits and the manifest, and open the set.

        Args:
            split: `training` or `validation` for every subject; None leaves the split to the training's settings.
            origin: facts on where the set is from, JSON-ready; no names and no dates.

        Raises:
            SettingsError: no slices.
            PoolError: a split that leaves out a subject or a side.
            OutputError: the folder cannot be written.
        """
        if not self._entries:
            raise SettingsError("labelled set", "needs at least one slice", "none")
        check_split((entry.subject_id for entry in self._entries), split)
        if self._waiting:
            self._write_shard()
        manifest = {
            "format": FORMAT_VERSION,
            "origin": dict(origin or {}),
            "class_names": self._class_names,
            "n_slices": len(self._entries),
            "n_subjects": len({entry.subject_id for entry in self._entries}),
            "shape": self._shape,
            "slices": {
                "subject": [entry.subject_id for entry in self._entries],
                "name": [entry.name for entry in self._entries],
                "level": [entry.level for entry in self._entries],
            },
            "split": dict(split) if split is not None else None,
            "shards": self._shards,
        }
        part = self.folder / f".{MANIFEST}.part"
        self._written += [part, self.folder / MANIFEST]
        with _writing(self.folder):
            part.write_text(json.dumps(manifest) + "\n", encoding="utf-8")
            os.replace(part, self.folder / MANIFEST)
        self._finished = True
        return LabelledSet.open(self.folder)

    def _write_shard(self) -> None:
        batches, self._waiting = self._waiting, []
        number, files = len(self._shards), {}
        for name in self._layers:
            arrays = [batch.arrays[name] for batch in batches]
            path = self.folder / f"shard-{number:05d}.{name}.npy"
            self._written.append(path)
            with _writing(self.folder):
                np.save(path, arrays[0] if len(arrays) == 1 else np.concatenate(arrays))
                files[name] = {"name": path.name, "sha256": sha256_of_file(path)}
        self._shards.append({"n_slices": sum(len(batch.entries) for batch in batches), "files": files})


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = error.strerror or type(error).__name__
        raise OutputError(
            f"folder {folder.name}",
            "must be writable, with room for the set",
            found,
            "Free some room, or name another.",
        ) from error
