import numpy as np
import pytest

from pool.errors import HeartNotFoundError, InconsistentStudyError, SettingsError
from pool.localise import locate_heart
from pool.preprocess import PreprocessSettings, WayBack, prepare
from pool.resample import cubic_taps, linear_taps, resample
from pool.series import PerfusionSeries
from tests.samples import bolus_frames, bolus_series


def test_a_slice_is_cropped_about_the_heart() -> None:
    prepared = prepare(bolus_series())[0]
    assert prepared.frames.shape == (30, 128, 128)
    assert prepared.frames.dtype == np.float32
    assert (prepared.frames.min(), prepared.frames.max()) == (0.0, 1.0)
    assert prepared.heart_centre_px == pytest.approx((50, 42), abs=1.5)
    assert prepared.way_back.step_px == pytest.approx((0.5, 0.5))


@pytest.mark.parametrize("spacing_mm", [1.2, 1.9, 2.6])
def test_the_heart_has_the_same_size_whatever_the_scan(spacing_mm: float) -> None:
    shape = (round(180 / spacing_mm), round(152 / spacing_mm))
    centre = (95 / spacing_mm, 80 / spacing_mm)
    frames = bolus_frames(shape, centre, spacing_mm)[None]
    series = PerfusionSeries(frames, np.arange(40.0)[None], (spacing_mm, spacing_mm), ("slice-1",))
    prepared = prepare(series)[0]
    bright = prepared.frames[int(prepared.frames[:, 60:68, 60:68].mean(axis=(1, 2)).argmax())] > 0.5
    area_mm2 = bright[34:94, 34:94].sum() * 0.95**2
    assert area_mm2 == pytest.approx(np.pi * 22**2, rel=0.08)  # the LV disc of 22 mm radius


@pytest.mark.parametrize(("n_rows", "n_cols"), [(2, 1), (1, 2), (3, 2)])
def test_the_heart_of_a_finer_image_is_in_the_same_place(n_rows: int, n_cols: int) -> None:
    series = bolus_series()
    fine = series.frames.repeat(n_rows, axis=2).repeat(n_cols, axis=3)[..., 1:, :]  # a row that fills no block
    spacing_mm = (1.9 / n_rows, 1.9 / n_cols)
    (centre,) = locate_heart(PerfusionSeries(fine, series.times_s, spacing_mm, series.slice_names))
    found = ((centre[0] + 1.5) / n_rows - 0.5, (centre[1] + 0.5) / n_cols - 0.5)
    assert found == pytest.approx(locate_heart(series)[0], abs=0.5)
    assert found == pytest.approx((50, 42), abs=1.5)


def test_two_slices_of_one_study_overrule_a_third() -> None:
    frames = np.stack([bolus_frames(seed=i) for i in range(3)])
    frames[2] = bolus_frames(centre=(20.0, 65.0), seed=2)
    series = PerfusionSeries(frames, np.tile(np.arange(40.0), (3, 1)), (1.9, 1.9), ("base", "mid", "apex"))
    for prepared in prepare(series):
        assert prepared.heart_centre_px == pytest.approx((50, 42), abs=3)


@pytest.mark.parametrize("kind", ["noise", "constant", "drift", "static"])
def test_a_slice_without_a_bolus_is_refused(kind: str) -> None:
    rng = np.random.default_rng(5)
    shape = (40, 96, 80)
    frames = {
        "noise": lambda: rng.normal(100, 10, shape),
        "constant": lambda: np.full(shape, 7.0),
        "drift": lambda: 100 + 0.2 * np.arange(40)[:, None, None] + rng.normal(0, 1, shape),
        "static": lambda: bolus_frames()[18] + rng.normal(0, 2, shape),
    }[kind]().astype(np.float32)
    series = PerfusionSeries(frames[None], np.arange(40.0)[None], (1.9, 1.9), ("mid",))
    with pytest.raises(HeartNotFoundError, match=r"slice mid: a first pass must brighten .*contrast agent\?"):
        prepare(series)


def test_time_is_resampled_on_the_real_times() -> None:
    """Frames whose brightness is their time stay so when half of the frames come late."""
    times = np.concatenate([np.arange(20) * 0.5, 10 + np.arange(20) * 2.0])
    frames = bolus_frames()
    frames = (
        frames * 0.0 + bolus_frames()[0] + 10 * times[:, None, None].astype(np.float32) * (frames.max(axis=0) > 120)
    )
    series = PerfusionSeries(frames.astype(np.float32)[None], times[None], (1.9, 1.9), ("mid",))
    curve = prepare(series)[0].frames[:, 60:68, 60:68].mean(axis=(1, 2))
    slope = np.diff(curve)
    assert slope.std() / slope.mean() < 0.02


def test_a_native_mask_comes_back_pixel_for_pixel() -> None:
    way_back = prepare(bolus_series())[0].way_back
    rng = np.random.default_rng(0)
    mask = np.zeros(way_back.native_shape, dtype=np.uint8)
    mask[30:70, 20:60] = rng.integers(0, 2, (40, 40))
    there = way_back.labels_from_native(mask)
    assert np.array_equal(way_back.to_native(there) >= 0.5, mask > 0)


def test_one_bright_pixel_keeps_its_place() -> None:
    """Worked out on paper: native 60 x 50 at 1.9 mm, upsampled to 120 x 100, smaller than the crop of 128.

    The upsampled image is centred: 4 pixels of border above, 14 to the left. Native pixel (10, 20) becomes the
    upsampled pixels 20-21 and 40-41, hence prepared rows 24-25 and columns 54-55.
    """
    frames = bolus_frames((60, 50), (30.0, 25.0))
    frames[:, 10, 20] = 5000.0
    series = PerfusionSeries(frames[None], np.arange(40.0)[None], (1.9, 1.9), ("mid",))
    prepared = prepare(series)[0]
    assert prepared.way_back.origin_px == pytest.approx(((-4 + 0.5) / 2 - 0.5, (-14 + 0.5) / 2 - 0.5))
    brightest = np.argwhere(prepared.frames[15] > 0.7)
    assert sorted(map(tuple, brightest.tolist())) == [(24, 54), (24, 55), (25, 54), (25, 55)]
    back = prepared.way_back.to_native(prepared.frames[15])
    assert np.unravel_index(back.argmax(), back.shape) == (10, 20)


def test_the_crop_stays_inside_a_large_image() -> None:
    frames = bolus_frames((120, 110), (30.0, 80.0))
    series = PerfusionSeries(frames[None], np.arange(40.0)[None], (1.9, 1.9), ("mid",))
    way_back = prepare(series)[0].way_back
    for axis, n_native in ((0, 120), (1, 110)):
        positions = way_back.native_positions(axis)
        assert positions[0] >= -0.5
        assert positions[-1] <= n_native - 0.5


def test_outside_the_crop_nothing_is_claimed() -> None:
    way_back = WayBack((40, 40), 16, (9.75, 9.75), (0.5, 0.5))
    native = way_back.to_native(np.ones((16, 16), np.float32))
    assert native.sum() == 8 * 8
    assert native[10:18, 10:18].min() == 1.0


def test_a_prepared_slice_passes_unchanged() -> None:
    frames = np.random.default_rng(0).random((1, 30, 128, 128), dtype=np.float32)
    series = PerfusionSeries(frames, np.arange(30.0)[None], None, ("slice-1",), prepared=True)
    prepared = prepare(series)[0]
    assert np.array_equal(prepared.frames, frames[0])
    assert np.array_equal(prepared.way_back.to_native(frames[0, 3]), frames[0, 3])
    half = PerfusionSeries(frames[:, :, :64], np.arange(30.0)[None], None, ("slice-1",), prepared=True)
    with pytest.raises(
        InconsistentStudyError, match=r"a prepared slice has shape \(30, 128, 128\); found \(30, 64, 128\)"
    ):
        prepare(half)
    scaled = PerfusionSeries(frames * 3, np.arange(30.0)[None], None, ("slice-1",), prepared=True)
    with pytest.raises(InconsistentStudyError, match=r"a prepared slice lies in \[0, 1\]; found"):
        prepare(scaled)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingsError, match="target_spacing_mm must be from 0.2 to 5 mm; found 0"):
        PreprocessSettings(target_spacing_mm=0)
    with pytest.raises(SettingsError, match="needs at least 16 pixels and 2 frames"):
        PreprocessSettings(n_frames=1)


def test_cubic_taps_reproduce_parabolas_and_linear_ones_lines() -> None:
    x = np.arange(12.0)
    inner = np.linspace(2, 9, 31)
    assert cubic_taps(12, inner).apply(x**2 - 3 * x, 0) == pytest.approx(inner**2 - 3 * inner, abs=1e-4)
    assert linear_taps(12, inner).apply(2 * x + 1, 0) == pytest.approx(2 * inner + 1, abs=1e-5)
    for taps in (cubic_taps, linear_taps):
        assert taps(12, np.linspace(-0.5, 11.5, 50)).apply(np.ones(12), 0) == pytest.approx(1.0, abs=1e-6)
        assert not taps(12, np.array([-0.6, 11.6])).apply(np.ones(12), 0).any()


def test_rows_and_columns_are_resampled_each_by_their_own_taps() -> None:
    image = np.arange(6.0)[:, None] * 10 + np.arange(4.0)
    sampled = resample(image, linear_taps(6, np.array([1.5, 2.0])), linear_taps(4, np.array([0.0, 0.5, 3.0])))
    assert sampled.tolist() == [[15.0, 15.5, 18.0], [20.0, 20.5, 23.0]]
