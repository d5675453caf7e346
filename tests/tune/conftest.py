"""A labelled set that a network of width 4 can learn in seconds: bright rings, three slices a subject."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from pool.networks import NetworkSpec
from pool.phantom.labelled_set import write_labelled_set
from pool.phantom.presets import get_preset
from tune.samples import Samples
from tune.settings import TrainingSettings

N_SUBJECTS, N_LEVELS = 4, 3


def ring_slice(row: float, col: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames float16 `30 128 128` and labels of a heart about (row, col): dark wall of 8 px about a bright pool."""
    rows, cols = np.mgrid[0:128, 0:128]
    distance = np.hypot(rows - row, cols - col)
    labels = np.where(distance < 16, 2, np.where(distance < 24, 1, 0)).astype(np.uint8)
    passage = np.sin(np.linspace(0, np.pi, 30))[:, None, None]
    frames = np.where(labels == 2, passage, np.where(labels == 1, 0.4 * passage, 0.05))
    return frames.astype(np.float16), labels


@pytest.fixture(scope="session")
def rings() -> Samples:
    torch.set_num_threads(1)
    made = [ring_slice(60 + 2 * (i % 4), 66 - 3 * (i % 3)) for i in range(N_SUBJECTS * N_LEVELS)]
    frames, labels = np.stack([m[0] for m in made]), np.stack([m[1] for m in made])
    subjects = [i // N_LEVELS for i in range(len(made))]
    return Samples.from_arrays([frames[:5], frames[5:]], [labels], subjects, data_sha256="rings")


@pytest.fixture(scope="session")
def tiny() -> TrainingSettings:
    """Two seeds x two checkpoints of the smallest network."""
    return TrainingSettings.quick(
        network=NetworkSpec(width=4, n_poolings=2),
        n_epochs=2,
        n_checkpoints=2,
        n_patches_per_slice=3,
        batch_size=6,
        n_warmup_steps=0,
        least_validation_dice=0.0,
        n_validation_slices=2,
    )


@pytest.fixture
def changed(tiny: TrainingSettings):  # type: ignore[no-untyped-def]
    return lambda **changes: dataclasses.replace(tiny, **changes)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of three phantom subjects."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("labelled") / "set"
    write_labelled_set(folder, get_preset("broad"), n_slices=9, seed=1, shard_size=6)
    return folder
