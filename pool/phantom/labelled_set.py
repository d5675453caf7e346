"""Labelled sets of phantom slices: simulated shard by shard from one seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch

from pool.errors import SettingsError
from pool.labelled_set import LabelledSet, SliceEntry
from pool.labelled_set_writer import LabelledSetWriter
from pool.phantom.presets import Preset
from pool.phantom.ranges import LEVELS, N_LEVELS
from pool.phantom.slices import make_labelled_slices

SIMULATOR_VERSION = 5
"""Rises whenever the same seed gives other pixels or other labels."""
ANATOMICAL_LABELS = "anatomical_labels"
"""Name of the layer of labels by tissue, uint8 `slice row col`."""


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
        OutputError: the folder holds something already, or cannot be written.
    """
    for subject, value in (("number of slices", n_slices), ("shard size", shard_size)):
        if value < N_LEVELS or value % N_LEVELS:
            raise SettingsError(
                subject, f"must be a positive multiple of {N_LEVELS}, the slices of a heart", str(value)
            )
    if seed < 0:
        raise SettingsError("seed", "must not be negative", str(seed))
    origin = {
        "simulator": SIMULATOR_VERSION,
        "preset": preset.name,
        "preset_sha256": preset.content_sha256(),
        "seed": seed,
    }
    with LabelledSetWriter(out_dir, shard_size=shard_size, layers=(ANATOMICAL_LABELS,)) as writer:
        for number, first in enumerate(range(0, n_slices, shard_size)):
            n = min(shard_size, n_slices - first)
            generator = torch.Generator().manual_seed(shard_seed(seed, number))
            made = make_labelled_slices(preset, n, generator, device)
            writer.add(
                made.frames.half().cpu().numpy(),
                made.labels.cpu().numpy(),
                [_entry(i) for i in range(first, first + n)],
                {ANATOMICAL_LABELS: made.anatomical_labels.cpu().numpy()},
            )
            if on_progress is not None:
                on_progress(first + n, n_slices)
        return writer.finish(origin=origin)


def _entry(index: int) -> SliceEntry:
    subject, level = str(index // N_LEVELS), LEVELS[index % N_LEVELS]
    return SliceEntry(subject, f"{subject}/{level}", level)
