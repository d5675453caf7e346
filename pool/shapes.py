"""Named array types, axes always in the order `slice time row col` or `class row col`.

jaxtyping's types carry their shapes and are checked in the test run. Where jaxtyping is not installed (bare GPU
images) they fall back to the plain array type, so that nothing but the check is lost. Torch is loaded when a type of
its tensors is asked for: reading a study needs none, and a child process that reads one starts two seconds earlier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float, Float32, Float64

    FramesTensor = Float[torch.Tensor, "time row col"]
    PatchBatch = Float[torch.Tensor, "patch time patch_row patch_col"]
    LogitsBatch = Float[torch.Tensor, "patch class patch_row patch_col"]
else:
    try:
        from jaxtyping import Bool, Float, Float32, Float64
    except ModuleNotFoundError:

        class _PlainArray:
            """`Float[np.ndarray, "row col"]` is `np.ndarray`."""

            def __class_getitem__(cls, item: tuple[Any, str]) -> Any:
                return item[0]

        Bool = Float = Float32 = Float64 = _PlainArray

SeriesFrames = Float32[np.ndarray, "slice time row col"]
"""Frames of a perfusion series, in the scanner's arbitrary units."""

SeriesTimes = Float64[np.ndarray, "slice time"]
"""Acquisition time of every frame of every slice [s], strictly rising along `time`, first frame of the study at 0."""

SliceFrames = Float32[np.ndarray, "time row col"]
"""Frames of one slice."""

Mask = Bool[np.ndarray, "row col"]
"""True where a pixel belongs to the structure."""

Labels = Any
"""uint8 `row col`: 0 background, 1 myocardium, 2 blood pool (LV and RV)."""

Map = Float32[np.ndarray, "row col"]
"""One value a pixel."""

Sums = Float64[np.ndarray, "row col"]
"""One sum a pixel, over the patches that cover it."""

Probability = Float32[np.ndarray, "class row col"]
"""Mean softmax probability; classes: background, myocardium, blood pool."""

_TENSOR_AXES = {
    "FramesTensor": "time row col",
    "PatchBatch": "patch time patch_row patch_col",
    "LogitsBatch": "patch class patch_row patch_col",
}

BACKGROUND, MYOCARDIUM, BLOOD_POOL = 0, 1, 2
CLASS_NAMES = ("background", "myocardium", "blood pool")


def __getattr__(name: str) -> Any:
    if name not in _TENSOR_AXES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import torch

    return Float[torch.Tensor, _TENSOR_AXES[name]]
