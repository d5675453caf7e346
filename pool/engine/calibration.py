"""The batch size and layout that are fastest here, measured once for a machine and a network, and remembered.

What is chosen changes times and the last bits of results (1e-6), nothing else; a data type is never chosen.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pool.engine.forward import Engine
from pool.engine.machine import Machine
from pool.engine.settings import EngineSettings
from pool.networks import NetworkSpec
from pool.patches import PatchBlock, PatchGrid

BATCH_SIZES = (8, 16, 33)
"""Candidates; 33 is a row of patches."""
BUDGET_S = 8.0
"""No further candidate is begun after so long [s]."""
LAYOUTS = (True, False)
"""Channels last or not, candidates in this order."""
GENERATION = 2
"""Of the engine: what was measured with an earlier one is measured anew."""
N_RUNS = 3
"""Of each candidate; the fastest counts, because other processes only ever make one slower."""


@dataclass(frozen=True)
class Calibration:
    """What was chosen."""

    settings: EngineSettings
    measured_s: dict[str, float]
    """Fastest run of each candidate over a row of 33 patches [s]; empty if remembered from an earlier measurement."""


def default_cache() -> Path:
    """Folder of remembered calibrations, by the XDG Base Directory Specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "perfusion-pool"


def calibrate(
    network: nn.Module,
    spec: NetworkSpec,
    settings: EngineSettings,
    cache_dir: Path | None = None,
    layouts: Sequence[bool] = LAYOUTS,
) -> Calibration:
    """The settings with the fastest batch size and layout, from the cache or measured in some seconds.

    Args:
        network: any member of the kind, in evaluation mode, on its device.
        spec: of the network.
        settings: data type and sharing to calibrate for; a given `batch_size` is one candidate more.
        layouts: candidates, see `LAYOUTS`; for the second, only the batch size that was best with the first is tried.
        cache_dir: where results are remembered. A file that cannot be read or written costs a measurement, no error.
    """
    path = (cache_dir or default_cache()) / f"engine-{_key(network, spec, settings, layouts)}.json"
    if (remembered := _read(path, settings)) is not None:
        return Calibration(remembered, {})
    sizes = sorted({*BATCH_SIZES, settings.batch_size or BATCH_SIZES[0]})
    measured: dict[str, float] = {}
    best, best_s = settings, float("inf")
    started = time.perf_counter()
    for channels_last in layouts:
        for size in sizes if channels_last == layouts[0] else [best.batch_size]:
            candidate = replace(settings, batch_size=size, channels_last=channels_last)
            if best_s < float("inf") and time.perf_counter() - started > BUDGET_S:
                break
            taken_s = _fastest_s(network, spec, candidate)
            measured[f"batch {size}, {'channels last' if channels_last else 'default layout'}"] = taken_s
            if taken_s < best_s:
                best, best_s = candidate, taken_s
    _write(path, {"batch_size": best.batch_size, "channels_last": best.channels_last})
    return Calibration(best, measured)


def _fastest_s(network: nn.Module, spec: NetworkSpec, settings: EngineSettings) -> float:
    engine, grid = Engine(network, settings), PatchGrid()
    frames = torch.rand(128, 128, spec.n_frames, generator=torch.Generator().manual_seed(0)).permute(2, 0, 1)
    frames = frames.to(engine.device)
    taken: list[float] = []
    for row in list(grid.offsets_px)[: N_RUNS + 1]:  # the first warms up and computes what all rows share
        started = time.perf_counter()
        engine(PatchBlock(grid, (row,), tuple(grid.offsets_px)), frames).sum().item()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _key(network: nn.Module, spec: NetworkSpec, settings: EngineSettings, layouts: Sequence[bool]) -> str:
    device = next(network.parameters()).device
    candidates = [settings.dtype, settings.sharing, BATCH_SIZES, list(layouts)]
    facts = [GENERATION, Machine.here(device).to_dict(), spec.to_dict(), *candidates]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _read(path: Path, settings: EngineSettings) -> EngineSettings | None:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        batch_size, channels_last = fields["batch_size"], fields["channels_last"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if type(batch_size) is not int or batch_size < 1 or type(channels_last) is not bool:
        return None
    return replace(settings, batch_size=batch_size, channels_last=channels_last)


def _write(path: Path, fields: dict[str, Any]) -> None:
    """Put the file in place whole or not at all: other processes may be reading."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".partial", delete=False) as file:
            json.dump(fields, file)
        os.replace(file.name, path)
    except OSError:
        return  # a read-only home: the next process measures again
