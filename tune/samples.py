"""Labelled slices as training and validation samples: split by subject, drawn by explicit generators."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from pool.errors import SettingsError
from pool.labelled_set import LabelledSet, check_split
from pool.patches import PatchGrid
from pool.shapes import CLASS_NAMES
from tune.settings import TrainingSettings


@dataclass(frozen=True, eq=False)
class Samples:
    """Prepared slices with labels and the subject that each belongs to.

    Raises:
        SettingsError: arrays that do not belong together.
    """

    shards: tuple[torch.Tensor, ...]
    """float16 (or float32) `slice time row col` in [0, 1], in pieces; they may be memory maps."""
    labels: torch.Tensor
    """uint8 `slice row col`, of all slices: 0 background, 1 myocardium, 2 blood pool where there are three classes."""
    subject_ids: tuple[str, ...]
    """One a slice. Slices of one subject never lie on both sides of a split."""
    data_sha256: str = ""
    """Hash of the content; goes into the manifest and into MLflow."""
    class_names: tuple[str, ...] = CLASS_NAMES
    """Names of the labels; a set without blood pool has two."""
    declared_split: Mapping[str, str] | None = None
    """`training` or `validation` for every subject, where the set declares it."""

    def __post_init__(self) -> None:
        n_slices = sum(len(shard) for shard in self.shards)
        shapes = {tuple(shard.shape[1:]) for shard in self.shards}
        if n_slices == 0 or len(shapes) != 1 or self.labels.shape != (n_slices, self.image_px, self.image_px):
            raise SettingsError(
                "labelled set",
                "needs square slices of one size with labels of the same size",
                f"{n_slices} slices of {sorted(shapes)}, labels {tuple(self.labels.shape)}",
            )
        if len(self.subject_ids) != n_slices:
            raise SettingsError("labelled set", "needs one subject a slice", f"{len(self.subject_ids)} for {n_slices}")
        if (highest := int(self.labels.max())) >= len(self.class_names):
            raise SettingsError("labelled set", f"labels of {len(self.class_names)} classes end there", f"{highest}")

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.subject_ids)

    @property
    def n_subjects(self) -> int:
        """Number of different subjects."""
        return len(set(self.subject_ids))

    @property
    def n_frames(self) -> int:
        """Time frames of a slice."""
        return int(self.shards[0].shape[1])

    @property
    def image_px(self) -> int:
        """Columns (and rows) of a slice."""
        return int(self.shards[0].shape[-1])

    @classmethod
    def from_arrays(
        cls,
        shards: Sequence[np.ndarray],
        labels: Sequence[np.ndarray],
        subject_ids: Sequence[object],
        data_sha256: str = "",
    ) -> Samples:
        """Samples whose frames share memory with the arrays; read-only memory maps are never written to."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            frames = tuple(torch.from_numpy(shard) for shard in shards)
        all_labels = torch.from_numpy(np.concatenate(list(labels)))
        return cls(frames, all_labels, tuple(str(subject) for subject in subject_ids), data_sha256)

    @classmethod
    def open(cls, folder: Path, verify: bool = False) -> Samples:
        """The expert labels of a labelled set on disk, memory-mapped.

        Args:
            folder: of the set.
            verify: recompute the SHA-256 of every shard, so that `data_sha256` is the content's and not a claim.

        Raises:
            PoolError: see `pool.labelled_set.LabelledSet.open`.
        """
        stored = LabelledSet.open(folder, verify)
        samples = cls.from_arrays(stored.frames, stored.labels, stored.subject_ids, stored.content_sha256())
        return replace(samples, class_names=stored.class_names, declared_split=stored.split)

    def to(self, device: str) -> Samples:
        """The samples in the memory of a GPU, so that batches are cut there; on the CPU the memory map stays."""
        if device == "cpu":
            return self
        return replace(self, shards=(torch.cat(self.shards).to(device),), labels=self.labels.to(device))

    def split(self, settings: TrainingSettings) -> Split:
        """Training and validation slices: as the set declares them, else as `split_by_subject` draws them."""
        return split_by_subject(self.subject_ids, settings, self.declared_split)

    def settings_for_classes(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings with as many output channels as the set has classes: the labels decide that, not the recipe."""
        return replace(settings, network=replace(settings.network, n_classes=len(self.class_names)))

    def gather(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames float32 `slice time row col` and labels uint8 `slice row col` of some slices."""
        if len(self.shards) == 1:
            frames = self.shards[0][indices].float()
        else:
            frames = torch.stack([self.frames_of(index) for index in indices.tolist()]).float()
        return frames, self.labels[indices]

    def frames_of(self, index: int) -> torch.Tensor:
        """Frames `time row col` of one slice, as stored."""
        for shard in self.shards:
            if index < len(shard):
                return shard[index]
            index -= len(shard)
        raise IndexError(f"a set of {len(self)} slices has no slice {index}")


@dataclass(frozen=True)
class Split:
    """Indices of the training and the validation slices; no subject is in both."""

    training: tuple[int, ...]
    validation: tuple[int, ...]


def split_by_subject(
    subject_ids: Sequence[str], settings: TrainingSettings, declared: Mapping[str, str] | None = None
) -> Split:
    """Training and validation slices; no subject is on both sides.

    Args:
        subject_ids: one a slice.
        settings: unless the split is declared, `validation_share` of the subjects are held out, at least one, drawn by
            `split_seed`. `n_validation_slices` thins out the validation slices of either.
        declared: `training` or `validation` for every subject; then nothing is drawn.

    Raises:
        PoolError: fewer than two subjects, or a declared split that leaves out a subject or a side.
    """
    subjects = sorted(set(subject_ids))
    refuse_too_few(len(subjects))
    if declared is None:
        held_out = draw_held_out(subjects, settings.validation_share, settings.split_seed)
    else:
        check_split(subjects, declared)
        held_out = {subject for subject in subjects if declared[subject] == "validation"}
    training = tuple(i for i, subject in enumerate(subject_ids) if subject not in held_out)
    validation = tuple(i for i, subject in enumerate(subject_ids) if subject in held_out)
    if settings.n_validation_slices is not None and settings.n_validation_slices < len(validation):
        picks = np.linspace(0, len(validation) - 1, settings.n_validation_slices).round().astype(int)
        validation = tuple(validation[i] for i in picks)
    return Split(training, validation)


def refuse_too_few(n_subjects: int) -> None:
    """Refuse what cannot be split.

    Raises:
        SettingsError: fewer than two subjects.
    """
    if n_subjects < 2:
        raise SettingsError(
            "labelled set", "needs at least 2 subjects, one of them for validation", str(n_subjects), "Add subjects."
        )


def draw_held_out(subjects: Sequence[str], share: float, seed: int) -> set[str]:
    """Draw `share` of the subjects for validation, at least one, and leave at least one for training.

    Args:
        subjects: each once, sorted: the draw depends on their order.
        share: in (0, 1).
        seed: of the draw.
    """
    n_held_out = min(max(1, round(share * len(subjects))), len(subjects) - 1)
    order = torch.randperm(len(subjects), generator=seeded_generator("split", seed)).tolist()
    return {subjects[i] for i in order[:n_held_out]}


def n_steps_per_epoch(n_slices: int, settings: TrainingSettings) -> int:
    """Whole batches in an epoch.

    Raises:
        SettingsError: not even one batch.
    """
    n_patches = n_slices * settings.n_patches_per_slice
    if n_patches < settings.batch_size:
        raise SettingsError(
            "training",
            f"an epoch must fill a batch of {settings.batch_size} patches",
            f"{n_patches} patches of {n_slices} slices",
            "Add slices, draw more patches from each, or take a smaller batch.",
        )
    return n_patches // settings.batch_size


def draw_batches(
    slices: Sequence[int],
    settings: TrainingSettings,
    image_px: int,
    generator: torch.Generator,
    device: str = "cpu",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """An epoch's patches in random order, each slice's positions used up before one comes again.

    Args:
        slices: indices of the training slices.
        settings: patch grid, patches a slice, batch size.
        image_px: rows and columns of a slice.
        generator: on the CPU, so that every device draws the same.
        device: where the batches are wanted. They go there together: a copy for every batch would make the host wait
            for the GPU each time, as it does for memory that is not pinned.

    Yields:
        Slice indices int64 `patch` and offsets int64 `patch 2` (first row, first column); only whole batches.
    """
    offsets = list(PatchGrid(image_px, settings.patch_px, settings.stride_px).offsets_px)
    corners = torch.tensor([(row, col) for row in offsets for col in offsets])
    n_rounds = -(-settings.n_patches_per_slice // len(corners))
    dealt = torch.rand(len(slices), n_rounds, len(corners), generator=generator).argsort(dim=2)
    corner_of = dealt.reshape(len(slices), -1)[:, : settings.n_patches_per_slice].reshape(-1)
    slice_of = torch.tensor(slices).repeat_interleave(settings.n_patches_per_slice)
    order = torch.randperm(len(slice_of), generator=generator)
    in_order = slice_of[order].to(device), corners[corner_of[order]].to(device)
    n_drawn = n_steps_per_epoch(len(slices), settings) * settings.batch_size
    yield from zip(*(drawn[:n_drawn].split(settings.batch_size) for drawn in in_order))


def seeded_generator(purpose: str, *numbers: int, device: str = "cpu") -> torch.Generator:
    """A generator of its own for each purpose and number (seed, epoch): nothing to save for an exact resume."""
    digest = hashlib.sha256(f"{purpose}/{numbers}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
