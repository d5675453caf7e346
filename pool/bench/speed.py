"""The speed report: contenders on one slice, their agreement, and the machine's matrix-product limit."""

from __future__ import annotations

import math
import os
import statistics
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pool.bench.contenders import (
    MONAI,
    engine,
    matrix_product,
    monai_inferers,
    patch_block,
    plain,
    untrained_network,
)
from pool.bench.timing import Times, alternate, paired_ratio
from pool.engine import EngineSettings
from pool.engine.machine import Machine
from pool.engine.operations import engine_operations, plain_operations
from pool.networks import NetworkSpec
from pool.patches import PatchGrid
from pool.sweep import frames_on

PLAIN = "plain sweep"
ENGINE = "engine"
PRODUCT = "matrix product, "
PRODUCT_SIZE = 1536
"""Rows of the matrices of the matrix-product limit: large enough to be limited by arithmetic alone."""


@dataclass(frozen=True)
class Measurement:
    """One contender's runs."""

    name: str
    times: Times
    vs_plain: float | None
    """The plain sweep's time over this one's, median of the rounds: above 1 is faster. None for the matrix product."""
    vs_plain_processor: float | None
    """The same of processor time, which other processes disturb less."""
    difference: float | None
    """Largest difference of the means of p and p^2 from the plain sweep; None for the matrix product."""
    gflop: float
    """Operations of the plain work that a run stands for [GFLOP]; what sharing leaves out is counted too."""

    @property
    def gflop_per_s(self) -> float:
        """Plain work done in a second [GFLOP/s]."""
        return self.gflop / self.times.median_s


@dataclass(frozen=True)
class SpeedReport:
    """What was measured, where, and on what."""

    machine: Machine
    load_average: float
    """Processes that wanted a core in the minute before; above 0 the machine was busy with something else."""
    network: NetworkSpec
    settings: EngineSettings
    """Of the engine."""
    n_patches: int
    n_rounds: int
    gflop: dict[str, float]
    """Counted operations of a whole slice [GFLOP]: as written, composed, shared."""
    measurements: tuple[Measurement, ...]

    def vs_monai(self, processor: bool = False) -> dict[str, float]:
        """Time of MONAI's best over each engine's, median of the rounds; empty without MONAI.

        Args:
            processor: processor time instead of elapsed time.
        """
        inferers = [item for item in self.measurements if item.name.startswith(MONAI)]
        if not inferers:
            return {}
        best = min(inferers, key=lambda item: _median_s(item.times, processor))
        engines = [item for item in self.measurements if item.name.startswith(ENGINE)]
        return {item.name: paired_ratio(best.times, item.times, processor) for item in engines}

    def vs_product(self, processor: bool = False) -> dict[str, float]:
        """Time of each engine over what the plain work takes at the speed of its data type's matrix product.

        Args:
            processor: processor time instead of elapsed time.
        """
        products = {
            item.name.removeprefix(PRODUCT): item for item in self.measurements if item.name.startswith(PRODUCT)
        }
        ratios = {}
        for item in self.measurements:
            dtype = item.name.removeprefix(f"{ENGINE}, ").removesuffix(", no sharing")
            if item.name.startswith(ENGINE) and dtype in products:
                product = products[dtype]
                limit_s = item.gflop / product.gflop * _median_s(product.times, processor)
                ratios[item.name] = _median_s(item.times, processor) / limit_s
        return ratios

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready fields."""
        return {
            "machine": self.machine.to_dict(),
            "load_average_before": self.load_average,
            "network": self.network.to_dict(),
            "engine": asdict(self.settings),
            "n_patches": self.n_patches,
            "n_rounds": self.n_rounds,
            "gflop_a_slice": self.gflop,
            "times_faster_than_best_of_monai": self.vs_monai(),
            "times_faster_than_best_of_monai_by_processor_time": self.vs_monai(processor=True),
            "over_matrix_product_limit": self.vs_product(),
            "over_matrix_product_limit_by_processor_time": self.vs_product(processor=True),
            "contenders": [
                {
                    "name": item.name,
                    "median_s": item.times.median_s,
                    "spread_s": list(item.times.spread_s),
                    "wall_s": list(item.times.wall_s),
                    "processor_s": list(item.times.processor_s),
                    "times_faster_than_plain": item.vs_plain,
                    "times_faster_than_plain_by_processor_time": item.vs_plain_processor,
                    "plain_gflop_per_s": item.gflop_per_s,
                    "largest_difference": item.difference,
                }
                for item in self.measurements
            ],
        }

    def in_words(self) -> str:
        """The table on the screen."""
        lines = [
            f"{self.machine.processor} {self.machine.gpu} {self.machine.instructions}, {self.machine.n_threads} of "
            f"{self.machine.n_cores} cores, torch {self.machine.torch_version}; U-Net of width {self.network.width}, "
            f"{self.network.n_poolings} poolings; {self.n_patches} patches, {self.n_rounds} rounds",
            " ".join([" " * 31, " median s", f"{'spread s':>15s}", " GFLOP/s", "x plain", " (CPU)", " differs"]),
        ]
        for item in self.measurements:
            low, high = item.times.spread_s
            ratio, processor_ratio = (f"{x:.2f}" if x else "" for x in (item.vs_plain, item.vs_plain_processor))
            difference = "" if item.difference is None else f"{item.difference:.1e}"
            lines.append(
                f"{item.name:31s} {item.times.median_s:9.3f} {low:7.3f}-{high:7.3f} {item.gflop_per_s:8.1f} "
                f"{ratio:>7s} {processor_ratio:>6s} {difference:>8s}"
            )
        by_processor = self.vs_monai(processor=True)
        lines += [
            f"{name}: {ratio:.2f} times as fast as MONAI's best ({by_processor[name]:.2f} by processor time)"
            for name, ratio in self.vs_monai().items()
        ]
        by_processor = self.vs_product(processor=True)
        lines += [
            f"{name}: {ratio:.2f} of the time of the plain work at the matrix product's speed "
            f"({by_processor[name]:.2f} by processor time)"
            for name, ratio in self.vs_product().items()
        ]
        counts = ", ".join(f"{name} {value:.0f}" for name, value in self.gflop.items())
        lines.append(f"engine: batch {self.settings.batch_size}, channels last {self.settings.channels_last}")
        return "\n".join([*lines, f"GFLOP of a slice: {counts}. GFLOP/s are of the plain work, shared or not."])


def _median_s(times: Times, processor: bool) -> float:
    return statistics.median(times.processor_s) if processor else times.median_s


def measure_speed(
    spec: NetworkSpec, settings: EngineSettings, n_rows: int, n_rounds: int, device: torch.device, bfloat16: bool
) -> SpeedReport:
    """Run all contenders on a slice of noise with an untrained network: speed does not depend on the numbers.

    Args:
        spec: the network.
        settings: of the engine.
        n_rows: rows of 33 patches, at most 33.
        n_rounds: runs of each contender.
        device: where.
        bfloat16: whether the engine is measured in bfloat16 too; slow on processors without it.
    """
    load_average = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    network = untrained_network(spec, device)
    noise = torch.rand(spec.n_frames, 128, 128, generator=torch.Generator().manual_seed(0))
    frames = frames_on(device, noise.numpy())
    block, grid = patch_block(n_rows), PatchGrid()
    share = block.n_patches / grid.n_patches
    counts = {
        "as written": plain_operations(spec, grid).total / 1e9,
        "composed": engine_operations(spec, grid, sharing=False).total / 1e9,
        "shared": engine_operations(spec, grid).total / 1e9,
    }
    dtypes = [settings.dtype, *(["bfloat16"] if bfloat16 and settings.dtype != "bfloat16" else [])]
    sweeps = {PLAIN: plain(network, frames, block)}
    for dtype in dtypes:
        for sharing in (True, False):
            name = f"{ENGINE}, {dtype}{'' if sharing else ', no sharing'}"
            variant = EngineSettings(dtype, settings.batch_size, settings.channels_last, sharing)
            sweeps[name] = engine(network, frames, block, variant)
    sweeps |= monai_inferers(network, frames, block)
    products = {
        f"{PRODUCT}{dtype}": matrix_product(PRODUCT_SIZE, EngineSettings(dtype).torch_dtype, device) for dtype in dtypes
    }
    warm = {name: run() for name, run in sweeps.items()}
    differences = {name: float((found - warm[PLAIN]).abs().max()) for name, found in warm.items()}
    for product, _ in products.values():
        product()
    times = alternate({**sweeps, **{name: run for name, (run, _) in products.items()}}, n_rounds, device)
    return SpeedReport(
        machine=Machine.here(device),
        load_average=load_average,
        network=spec,
        settings=settings,
        n_patches=block.n_patches,
        n_rounds=n_rounds,
        gflop=counts,
        measurements=tuple(
            Measurement(
                name=name,
                times=of,
                vs_plain=None if name in products else paired_ratio(times[PLAIN], of),
                vs_plain_processor=None if name in products else paired_ratio(times[PLAIN], of, processor=True),
                difference=differences.get(name),
                gflop=products[name][1] / 1e9 if name in products else share * counts["as written"],
            )
            for name, of in times.items()
        ),
    )
