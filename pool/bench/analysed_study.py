"""A whole study as `pool.analysis` does it, member by member, with either rule: time, patch passes, memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pool.engine.machine import Machine
from pool.member import Pool
from pool.preprocess import PreparedSlice, WayBack
from pool.race import SliceRace, run_race
from pool.race_settings import RaceSettings
from pool.selection import RACE_RULE
from pool.shapes import SliceFrames
from pool.sweep import SweepSettings


@dataclass(frozen=True)
class AnalysedStudyReport:
    """What was measured."""

    machine: Machine
    rule: str
    dtype: str
    n_members: int
    n_slices: int
    wall_s: tuple[float, ...]
    """Elapsed time of each study [s]."""
    processor_s: tuple[float, ...]
    """Processor time of each study, all threads together [s]: on a shared machine it says more."""
    n_passes: int
    """Patch passes of a study."""
    n_passes_exhaustive: int
    """Patch passes of full sweeps by all members."""
    peak_bytes: int | None
    """Most memory of this process over what it had with the pool loaded [B]; None where the system does not say."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return asdict(self) | {"median_s": statistics.median(self.wall_s)}

    def in_words(self) -> str:
        """Some lines."""
        memory = "unknown" if self.peak_bytes is None else f"{self.peak_bytes / 1e6:.0f} MB"
        share = statistics.median(self.processor_s) / statistics.median(self.wall_s) / self.machine.n_threads
        return (
            f"{self.machine.processor} {self.machine.gpu} {self.machine.instructions}, {self.machine.n_threads} threads"
            f", torch {self.machine.torch_version}; {self.n_members} members, {self.n_slices} slices, {self.rule}, "
            f"{self.dtype}\n"
            f"study: median {statistics.median(self.wall_s):.1f} s ({min(self.wall_s):.1f}-{max(self.wall_s):.1f} of "
            f"{len(self.wall_s)}), {statistics.median(self.processor_s):.1f} s of processor time, {share:.0%} of the "
            f"threads' time\n"
            f"patch passes: {self.n_passes} of {self.n_passes_exhaustive}, "
            f"{self.n_passes_exhaustive / self.n_passes:.1f} times fewer; memory over the loaded pool: {memory}"
        )


def measure_analysed_study(
    pool: Pool, slices: Sequence[SliceFrames], sweep: SweepSettings, rule: str, n_rounds: int, machine: Machine
) -> AnalysedStudyReport:
    """Time whole studies; nothing is run before the first, whose memory counts.

    Args:
        pool: all members, on their device.
        slices: prepared.
        sweep: of a full sweep.
        rule: a race or any other.
        n_rounds: studies.
        machine: this one.
    """
    prepared = [prepared_slice(f"slice {i}", frames) for i, frames in enumerate(slices)]
    n_full = sweep.grid(slices[0].shape[1]).n_patches * len(pool.of_patches) * len(prepared)
    before = _memory_bytes("VmRSS")
    _forget_peak()
    wall_s, processor_s, n_passes = [], [], n_full
    for _ in range(n_rounds):
        wall, processor = time.perf_counter(), time.process_time()
        if rule == RACE_RULE:
            races = [SliceRace(item, pool.manifest, sweep, RaceSettings()) for item in prepared]
            for race, item in zip(races, prepared):
                run_race(race, item, pool, sweep)
            n_passes = sum(race.record().n_passes for race in races)
        else:
            for item in prepared:
                for member in pool.of_patches:
                    member.analyse(item, sweep)
        wall_s.append(time.perf_counter() - wall)
        processor_s.append(time.process_time() - processor)
    peak = _memory_bytes("VmHWM")
    return AnalysedStudyReport(
        machine=machine,
        rule=rule,
        dtype=sweep.dtype,
        n_members=len(pool.of_patches),
        n_slices=len(prepared),
        wall_s=tuple(wall_s),
        processor_s=tuple(processor_s),
        n_passes=n_passes,
        n_passes_exhaustive=n_full,
        peak_bytes=None if before is None or peak is None else peak - before,
    )


def prepared_slice(name: str, frames: SliceFrames) -> PreparedSlice:
    """Frames that are as prepared ones are, whose native grid is their own."""
    image_px = frames.shape[1]
    way_back = WayBack((image_px, image_px), image_px, (0.0, 0.0), (1.0, 1.0))
    middle = (image_px // 2, image_px // 2)
    return PreparedSlice(name, frames, way_back, middle, (0, 1), (0, len(frames) - 1))


def _memory_bytes(name: str) -> int | None:
    """A line of /proc/self/status, Linux's account of this process's memory."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)


def _forget_peak() -> None:
    """Let VmHWM start from now."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # the peak may then be one of before, and is none too small
