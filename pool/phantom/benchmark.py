"""How fast labelled slices are made, and in how much memory: `python -m pool.phantom.benchmark`."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from dataclasses import dataclass

import torch

from pool.phantom.presets import PRESETS, Preset, get_preset
from pool.phantom.slices import make_labelled_slices


@dataclass(frozen=True)
class SpeedReport:
    """Speed of the simulator on one machine."""

    slices_per_s: float
    """Labelled 128 x 128 x 30 slices in a second of wall time."""
    processor_s_per_slice: float
    """Processor time of one slice, all threads together [s]; unlike wall time it hardly suffers from neighbours."""
    peak_memory_mb: float
    """Largest resident memory of the process so far [MB]."""
    n_threads: int
    """torch's threads."""
    device: str
    """Where it ran."""


def measure_speed(preset: Preset, n_slices: int = 150, device: str = "cpu", n_chunk: int = 30) -> SpeedReport:
    """Make slices chunk by chunk, as a training run that streams them does.

    Args:
        preset: what to make.
        n_slices: how many, beside a first chunk that warms up.
        device: where.
        n_chunk: slices made at once.
    """
    generator = torch.Generator().manual_seed(0)
    make_labelled_slices(preset, n_chunk, generator, device)
    _wait(device)
    wall, processor = time.perf_counter(), time.process_time()
    n_made = 0
    while n_made < n_slices:
        n_made += len(make_labelled_slices(preset, n_chunk, generator, device).labels)
    _wait(device)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    return SpeedReport(
        slices_per_s=n_made / wall,
        processor_s_per_slice=processor / n_made,
        peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        n_threads=torch.get_num_threads(),
        device=device,
    )


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def main() -> int:
    """Measure and write one line."""
    parser = argparse.ArgumentParser(prog="python -m pool.phantom.benchmark", description=__doc__)
    parser.add_argument("--preset", choices=list(PRESETS), default="broad")
    parser.add_argument("--slices", type=int, default=150)
    parser.add_argument("--chunk", type=int, default=30, help="slices made at once; several hundred on a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = measure_speed(get_preset(options.preset), options.slices, options.device, options.chunk)
    sys.stdout.write(
        f"{options.preset}: {report.slices_per_s:.1f} labelled slices/s on {report.device} with {report.n_threads} "
        f"threads, {1000 * report.processor_s_per_slice:.0f} ms processor time a slice, "
        f"peak memory {report.peak_memory_mb:.0f} MB\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
