"""Phantom slices simulated straight into the memory that they are trained from: no disk, no copy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import torch

from pool.errors import SettingsError
from pool.phantom.labelled_set import SIMULATOR_VERSION, shard_seed
from pool.phantom.presets import Preset
from pool.phantom.ranges import N_LEVELS
from pool.phantom.slices import IMAGE_PX, N_FRAMES, make_labelled_slices
from tune.samples import Samples

SHARD_SLICES = 384
"""Simulated at once: two of a GPU's batches of hearts."""


def simulate_samples(
    preset: Preset, n_slices: int, seed: int, device: str, on_progress: Callable[[int, int], None]
) -> Samples:
    """Labelled slices on a device, float16 as a labelled set on disk stores them.

    `data_sha256` is that of the labels and of what the frames were simulated with; hashing gigabytes of frames in a
    GPU's memory would take longer than making them. On another device the same seed gives other slices.

    Args:
        preset: population and scanner.
        n_slices: a multiple of 3, since every subject has three slices.
        seed: of the simulation, at least 0.
        device: where to simulate, and where the slices stay.
        on_progress: called with slices made so far and in all.

    Raises:
        SettingsError: a number that is no positive multiple of 3, or a negative seed.
    """
    if n_slices < N_LEVELS or n_slices % N_LEVELS:
        rule = f"must be a positive multiple of {N_LEVELS}, the slices of a heart"
        raise SettingsError("number of slices", rule, str(n_slices))
    if seed < 0:
        raise SettingsError("seed", "must not be negative", str(seed))
    frames = torch.empty(n_slices, N_FRAMES, IMAGE_PX, IMAGE_PX, dtype=torch.float16, device=device)
    labels = torch.empty(n_slices, IMAGE_PX, IMAGE_PX, dtype=torch.uint8, device=device)
    for number, first in enumerate(range(0, n_slices, SHARD_SLICES)):
        last = min(first + SHARD_SLICES, n_slices)
        generator = torch.Generator().manual_seed(shard_seed(seed, number))
        made = make_labelled_slices(preset, last - first, generator, device)
        frames[first:last], labels[first:last] = made.frames, made.labels
        on_progress(last, n_slices)
    origin = {
        "simulator": SIMULATOR_VERSION,
        "preset_sha256": preset.content_sha256(),
        "seed": seed,
        "n_slices": n_slices,
        "shard_slices": SHARD_SLICES,
        "device": torch.device(device).type,
    }
    digest = hashlib.sha256(json.dumps(origin, sort_keys=True).encode())
    digest.update(labels.cpu().numpy().tobytes())
    subjects = tuple(str(i // N_LEVELS) for i in range(n_slices))
    return Samples((frames,), labels, subjects, digest.hexdigest())
