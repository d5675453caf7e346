"""A study, read and prepared, as one `.npz` of plain arrays and JSON: a child's answer is data, never code."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from pool.perfusion.sequence import SequenceValues
from pool.preprocess import PreparedSlice, WayBack
from pool.series import PerfusionSeries, SliceGeometry

_ARRAYS_OF_SERIES = ("frames", "times_s")


def save_study(path: Path, series: PerfusionSeries, prepared: tuple[PreparedSlice, ...]) -> None:
    """Write a study that was read and prepared."""
    words: dict[str, Any] = {
        "series": {f.name: getattr(series, f.name) for f in fields(series) if f.name not in _ARRAYS_OF_SERIES},
        "slices": [item.record() for item in prepared],
    }
    if series.geometry is not None:
        words["series"]["geometry"] = [asdict(item) for item in series.geometry]
    if series.sequence is not None:
        words["series"]["sequence"] = asdict(series.sequence)
    arrays: dict[str, Any] = {f"slice_{i}": item.frames for i, item in enumerate(prepared)}
    np.savez(path, frames=series.frames, times_s=series.times_s, words=np.array(json.dumps(words)), **arrays)


def load_study(path: Path) -> tuple[PerfusionSeries, tuple[PreparedSlice, ...]]:
    """Read it back: the same numbers to the last bit.

    Raises:
        ValueError, KeyError, TypeError, OSError, PoolError: not what `save_study` writes.
    """
    with np.load(path, allow_pickle=False) as content:
        words: dict[str, Any] = json.loads(str(content["words"]))
        own = words["series"]
        geometry = own["geometry"] and tuple(
            SliceGeometry(tuple(item["position_mm"]), tuple(item["orientation"])) for item in own["geometry"]
        )
        spacing = own["pixel_spacing_mm"]
        series = PerfusionSeries(
            content["frames"],
            content["times_s"],
            None if spacing is None else (spacing[0], spacing[1]),
            tuple(own["slice_names"]),
            geometry,
            own["prepared"],
            tuple(own["remarks"]),
            (own["flipped"][0], own["flipped"][1]),
            own["sequence"] and SequenceValues(**own["sequence"]),
        )
        prepared = tuple(_prepared(row, content[f"slice_{i}"]) for i, row in enumerate(words["slices"]))
    return series, prepared


def _prepared(row: dict[str, Any], frames: np.ndarray) -> PreparedSlice:
    way = row["way_back"]
    way_back = WayBack(tuple(way["native_shape"]), way["image_px"], tuple(way["origin_px"]), tuple(way["step_px"]))
    pairs = {name: tuple(row[name]) for name in ("heart_centre_px", "intensity_range", "time_span_s")}
    return PreparedSlice(row["name"], frames, way_back, **pairs)
