import pickle

import numpy as np
import pytest

from pool.errors import InconsistentStudyError, NonFiniteError, PoolError, SettingsError, TooFewFramesError
from pool.series import PerfusionSeries, SliceGeometry, base_is_first
from tests.samples import bolus_series


def series(**changes: object) -> PerfusionSeries:
    fields: dict[str, object] = {
        "frames": np.ones((2, 10, 6, 5), np.float32),
        "times_s": np.tile(np.arange(10.0), (2, 1)),
        "pixel_spacing_mm": (1.0, 1.0),
        "slice_names": ("base", "mid"),
    }
    return PerfusionSeries(**{**fields, **changes})  # type: ignore[arg-type]


def nan_pixel() -> np.ndarray:
    frames = np.ones((2, 10, 6, 5), np.float32)
    frames[1, 3, 2, 2] = np.nan
    return frames


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"frames": nan_pixel()}, NonFiniteError, "slice mid: every pixel must be a finite number; found 1 NaN"),
        (
            {"frames": np.ones((2, 7, 6, 5), np.float32), "times_s": np.tile(np.arange(7.0), (2, 1))},
            TooFewFramesError,
            "a first pass needs at least 8 frames a slice; found 7 frames",
        ),
        (
            {"frames": np.ones((0, 10, 6, 5), np.float32)},
            InconsistentStudyError,
            "needs at least one slice with pixels",
        ),
        ({"times_s": np.zeros((2, 10))}, InconsistentStudyError, "slice base: frame times must be .* strictly rising"),
        ({"times_s": np.tile(np.arange(9.0), (2, 1))}, InconsistentStudyError, "needs one time a frame"),
        ({"slice_names": ("base",)}, InconsistentStudyError, "one entry of slice_names a slice; found 1 for 2"),
        ({"pixel_spacing_mm": None}, SettingsError, "needs a pixel spacing in mm; found none"),
        ({"pixel_spacing_mm": (1.0, -1.0)}, InconsistentStudyError, "pixel spacing must lie from 0.2 to 10 mm"),
        ({"pixel_spacing_mm": (0.0019, 0.0019)}, InconsistentStudyError, r"0.0019\) mm\. Is it given in metres"),
        ({"pixel_spacing_mm": (float("nan"), 1.0)}, InconsistentStudyError, "pixel spacing must lie from 0.2 to 10 mm"),
    ],
)
def test_a_series_cannot_exist_half_valid(changes: dict[str, object], error: type[PoolError], message: str) -> None:
    with pytest.raises(error, match=message):
        series(**changes)


def test_the_hash_follows_what_an_analysis_depends_on() -> None:
    assert series().content_sha256() == series(slice_names=("a", "b"), remarks=("x",)).content_sha256()
    brighter = np.ones((2, 10, 6, 5), np.float32)
    brighter[0, 0, 0, 0] = 2
    others = [series(frames=brighter), series(pixel_spacing_mm=(1.0, 1.1)), series(times_s=series().times_s * 2)]
    assert len({series().content_sha256(), *(other.content_sha256() for other in others)}) == 4


def test_patient_positions_worked_out_on_paper() -> None:
    """Rows run down the patient (-z), columns to the left (+x), 2 mm between rows and 3 mm between columns."""
    geometry = SliceGeometry((10.0, 20.0, 30.0), (1, 0, 0, 0, 0, -1))
    assert geometry.to_patient_mm(4, 5, (2.0, 3.0)).tolist() == [10 + 5 * 3, 20, 30 - 4 * 2]
    assert geometry.normal.tolist() == [0, 1, 0]


def test_base_comes_before_apex() -> None:
    orientation = (0.6, 0.8, 0.0, 0.0, 0.0, -1.0)
    base, apex = SliceGeometry((0, 0, 0), orientation), SliceGeometry((20, -20, -10), orientation)
    assert base_is_first((base, apex))
    assert not base_is_first((apex, base))


def test_errors_cross_process_borders() -> None:
    error = pickle.loads(pickle.dumps(TooFewFramesError("slice mid", "needs 8", "3 frames", "Send all.")))
    assert isinstance(error, TooFewFramesError)
    assert str(error) == "slice mid: needs 8; found 3 frames. Send all."
    assert error.to_dict()["error"] == "TooFewFramesError"


def test_maps_go_back_to_the_grid_of_the_input() -> None:
    turned = bolus_series()
    object.__setattr__(turned, "flipped", (True, False))
    assert turned.to_input_grid(np.array([[1, 2], [3, 4]])).tolist() == [[3, 4], [1, 2]]
