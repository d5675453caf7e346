"""Where slices with a known truth come from: simulated, published `.mat` pairs, or a labelled set on disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from pool.errors import SettingsError
from pool.inputs import open_study
from pool.labelled_set import LabelledSet
from pool.masks.files import read_mask_file
from pool.masks.volume import lay
from pool.phantom.presets import PRESETS, Preset, get_preset
from pool.phantom.ranges import N_LEVELS
from pool.phantom.slices import make_labelled_slices
from pool.preprocess import PreparedSlice, prepare
from pool.series import PerfusionSeries
from pool.shapes import Labels, SliceFrames

REAL = "real"
"""Entry of `--sets` that stands for the folder of `.mat` pairs."""
UNKNOWN_LEVEL = "slice"
"""Level of a slice of which nobody said it; it is judged as one with six segments."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_LEVELS = {"bas": "base", "mid": "mid", "api": "apex", "apex": "apex"}
"""How the names of `.mat` files tell their level."""


@dataclass(frozen=True, eq=False)
class TrueSlice:
    """A prepared slice with its truth."""

    name: str
    """Unique within its set."""
    subject: str
    level: str
    frames: SliceFrames
    """In [0, 1], as `pool.preprocess` delivers it."""
    labels: Labels
    """uint8 `row col`: 0 background, 1 myocardium, 2 blood pool."""

    def prepared(self) -> PreparedSlice:
        """As a member takes it.

        Raises:
            InconsistentStudyError: frames of another size than a prepared slice has, or outside [0, 1].
        """
        times_s = np.arange(len(self.frames), dtype=np.float64)[None]
        series = PerfusionSeries(self.frames[None], times_s, None, (self.name,), prepared=True)
        return prepare(series)[0]


class SliceSource(Protocol):
    """A set of slices, read or made one by one: a set need not fit into memory."""

    name: str
    origin: str
    """In words, for the report."""
    simulated: bool
    """Whether its pixels may be shown anywhere."""

    def __len__(self) -> int:
        """Number of slices."""

    def __getitem__(self, index: int) -> TrueSlice:
        """One slice."""


class SimulatedSlices:
    """Phantom subjects of a preset, base, mid and apex of each; subject i is the same however many there are.

    They are no training slices, whatever the seeds: sets for training draw from other streams of numbers.

    Args:
        preset: population and scanner.
        n_subjects: hearts, at least one.
        seed: at least 0.
    """

    simulated = True

    def __init__(self, preset: Preset, n_subjects: int, seed: int) -> None:
        if n_subjects < 1:
            raise SettingsError(f"set {preset.name}", "needs at least one subject", str(n_subjects))
        if seed < 0:
            raise SettingsError(f"set {preset.name}", "its seed must not be negative", str(seed))
        self.name, self.origin = preset.name, f"phantom {preset.name}, seed {seed}"
        self._preset, self._n_subjects, self._seed = preset, n_subjects, seed
        self._latest: tuple[int, list[TrueSlice]] = (-1, [])

    def __len__(self) -> int:
        """Three slices a subject."""
        return self._n_subjects * N_LEVELS

    def __getitem__(self, index: int) -> TrueSlice:
        """One slice; the slices of a subject are made together."""
        subject, within = divmod(index, N_LEVELS)
        if self._latest[0] != subject:
            self._latest = (subject, self._make(subject))
        return self._latest[1][within]

    def _make(self, subject: int) -> list[TrueSlice]:
        digest = hashlib.sha256(f"evaluation:{self._preset.name}:{self._seed}:{subject}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        made = make_labelled_slices(self._preset, N_LEVELS, generator)
        name = f"{subject + 1:03d}"
        return [
            TrueSlice(f"{name}-{level}", name, level, made.frames[i].numpy(), made.labels[i].numpy())
            for i, level in enumerate(made.level_names)
        ]


class MatPairs:
    """Prepared slices as published with the DAUGS paper: `images/NAME.mat` and `labels/NAME.mat`.

    The subject is what stands before the first dash of NAME, the level is known from `Basal`, `Mid`, `Apical` in it.
    `final_mask` holds 1 for myocardium and 3 for blood pool, see `pool.masks.values`.

    Args:
        folder: holds both folders.

    Raises:
        SettingsError: no such folder, no image, or an image without labels.
    """

    simulated = False

    def __init__(self, folder: Path) -> None:
        self.name, self.origin = REAL, f"{folder.name}/images"
        self._images = sorted((folder / "images").glob("*.mat"))
        if not self._images:
            remedy = "Give the folder with --real-data, or leave the set out."
            raise SettingsError("set real", "needs images/*.mat and labels/*.mat", f"none in {folder}", remedy)
        for path in self._images:
            if not self._label_of(path).is_file():
                remedy = "Add it, or take the image away."
                raise SettingsError("set real", f"needs labels/{path.name}", "no such file", remedy)

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self._images)

    def __getitem__(self, index: int) -> TrueSlice:
        """One slice.

        Raises:
            PoolError: an image or labels that cannot be read, values that nobody declared, or another size.
        """
        path = self._images[index]
        series = open_study(path).series
        prepared = prepare(series)[0]
        laid = lay([read_mask_file(self._label_of(path))], series)
        level = next((level for part, level in _LEVELS.items() if part in path.stem.lower()), UNKNOWN_LEVEL)
        labels = prepared.way_back.labels_from_native(laid.classes[0])
        return TrueSlice(path.stem, path.stem.split("-")[0], level, prepared.frames, labels)

    @staticmethod
    def _label_of(image: Path) -> Path:
        return image.parent.parent / "labels" / image.name


class LabelledSlices:
    """The slices of a labelled set on disk.

    Args:
        name: of the set in the report.
        folder: of the labelled set.

    Raises:
        PoolError: no labelled set, see `LabelledSet.open`.
    """

    simulated = False

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.origin = name, f"labelled set {folder.name}"
        self._set = LabelledSet.open(folder)

    def __len__(self) -> int:
        """Number of slices."""
        return len(self._set)

    def __getitem__(self, index: int) -> TrueSlice:
        """One slice."""
        frames, labels = self._set[index]
        subject, level = str(self._set.subject_ids[index]), self._set.level_names[index] or UNKNOWN_LEVEL
        whole = np.ascontiguousarray(frames, dtype=np.float32)
        return TrueSlice(f"{index:05d}-{level}", subject, level, whole, np.array(labels))


def open_sources(sets: str, n_subjects: int, seed: int, real_data: Path) -> list[SliceSource]:
    """The sets of a comma-separated list, in its order.

    Args:
        sets: names of phantom presets, `real`, or `NAME=FOLDER` of a labelled set.
        n_subjects: phantom subjects of each preset.
        seed: of the phantom subjects.
        real_data: folder that `real` stands for.

    Raises:
        SettingsError: an unknown entry, a name twice, or a set that cannot be opened.
    """
    entries = [entry.strip() for entry in sets.split(",") if entry.strip()]
    if not entries:
        raise SettingsError("evaluation", "needs at least one set", "none", f"Presets: {', '.join(PRESETS)}.")
    sources = [_open(entry, n_subjects, seed, real_data) for entry in entries]
    _refuse_twice([source.name for source in sources])
    return sources


def _open(entry: str, n_subjects: int, seed: int, real_data: Path) -> SliceSource:
    name, equals, folder = entry.partition("=")
    if equals:
        if not _NAME.fullmatch(name):
            rule = "a name is letters, digits, dots and dashes, at most 40, a letter or digit first"
            raise SettingsError("set", rule, repr(name), "For example mine=FOLDER.")
        return LabelledSlices(name, Path(folder))
    if entry == REAL:
        return MatPairs(real_data)
    if entry not in PRESETS:
        known = f"must be {REAL}, NAME=FOLDER of a labelled set, or one of {', '.join(PRESETS)}"
        raise SettingsError("set", known, repr(entry))
    return SimulatedSlices(get_preset(entry), n_subjects, seed)


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SettingsError(
            "evaluation", "every set needs a name of its own", f"{', '.join(twice)} twice", "Name it once."
        )
