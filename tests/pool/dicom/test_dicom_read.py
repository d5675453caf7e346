"""Vendors' ways of writing a first pass, read to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from pool.dicom.read import DicomStudy, read_dicom_study
from tests.pool.dicom import dicom_samples as samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def assert_frames_are_right(study: DicomStudy) -> None:
    """Every pixel is 2 x stored - 5, slices run from base to apex, frames forward in time."""
    assert study.series.frames.shape == (3, samples.N_FRAMES, samples.ROWS, samples.COLS)
    for s in range(3):
        for t in range(samples.N_FRAMES):
            np.testing.assert_array_equal(study.series.frames[s, t], 2.0 * samples.pixels(s, t) - 5.0)
    assert study.series.slice_names == ("base", "mid", "apex")
    assert study.series.pixel_spacing_mm == (2.5, 2.0)


@pytest.mark.parametrize(
    ("times", "key", "step_s", "offset_s"),
    [
        (samples.siemens_times, "frame times from AcquisitionTime", 0.8, 0.2),
        (
            samples.ge_times,
            "frame times from TriggerTime (AcquisitionTime has 3 distinct values in 10 frames)",
            0.698,
            0.1,
        ),
        (
            samples.philips_times,
            "frame times from TriggerTime (AcquisitionTime has 1 distinct value in 10 frames)",
            0.9,
            0.15,
        ),
    ],
)
def test_each_vendor_tells_time_in_its_own_tag(
    tmp_path: Path, times: Callable[[Dataset, int, int], None], key: str, step_s: float, offset_s: float
) -> None:
    study = read_dicom_study(samples.write_study(tmp_path, times))
    assert_frames_are_right(study)
    assert study.series.remarks == (key,)
    assert study.warnings == ()
    expected = step_s * np.arange(samples.N_FRAMES)[None] + offset_s * np.arange(3)[:, None]
    np.testing.assert_allclose(study.series.times_s, expected, atol=1e-9)


@pytest.mark.parametrize("split", [False, True])
def test_enhanced_multi_frame_in_one_file_or_one_a_slice(tmp_path: Path, split: bool) -> None:
    parts = [(2,), (0,), (1,)] if split else [(1, 0, 2)]
    study = read_dicom_study([samples.write(tmp_path / f"{p[0]}.dcm", samples.enhanced(p)) for p in parts])
    assert_frames_are_right(study)
    assert study.series.remarks == ("frame times from FrameAcquisitionDateTime",)
    np.testing.assert_allclose(study.series.times_s[1, :2], [0.2, 1.0], atol=1e-9)
    assert tuple(source.frame_number for source in study.sources[1][:3]) == ((1, 2, 3) if split else (1, 4, 7))


def test_order_of_files_does_not_matter(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    assert read_dicom_study(files).series.content_sha256() == read_dicom_study(files[::-1]).series.content_sha256()


def test_one_series_a_slice_makes_one_study(tmp_path: Path) -> None:
    files = [
        samples.write(
            tmp_path / f"{s}-{t}",
            samples.classic(s, t, series_uid=f"1.2.9.{s}", SeriesNumber=s + 20, InstanceNumber=t + 1),
        )
        for s in range(3)
        for t in range(samples.N_FRAMES)
    ]
    study = read_dicom_study(files)
    assert_frames_are_right(study)
    assert study.sources[2][0].series_uid == "1.2.9.2"


def test_sources_follow_the_frames(tmp_path: Path) -> None:
    study = read_dicom_study(samples.write_study(tmp_path))
    assert study.sources[2][7].sop_instance_uid == f"{samples.SERIES_UID}.3.8"
    assert study.identity["PatientName"] == "Phantom^Secret"


def test_witness_a_bright_pixel_worked_out_by_hand(tmp_path: Path) -> None:
    """Row 4, column 9 of the middle slice, stored unsigned in a raw file of 12 rows and 16 columns.

    On paper: first pixel of the middle slice (-34, 2, 60). Nine columns of 2 mm along (0.8, 0.6, 0) are
    (14.4, 10.8, 0); four rows of 2.5 mm along (0, 0, -1) are (0, 0, -10). So the pixel lies at (-19.6, 12.8, 50).
    """
    files = samples.write_study(tmp_path)
    data = bytearray(12 * 16 * 2)
    offset = (4 * 16 + 9) * 2
    data[offset : offset + 2] = (7000).to_bytes(2, "little")
    samples.write(files[1 + 3 * 6], samples.classic(1, 6, PixelData=bytes(data), PixelRepresentation=0))
    study = read_dicom_study(files)
    assert np.argwhere(study.series.frames > 10_000).tolist() == [[1, 6, 4, 9]]
    assert study.series.geometry is not None
    assert study.series.pixel_spacing_mm is not None
    place = study.series.geometry[1].to_patient_mm(4, 9, study.series.pixel_spacing_mm)
    np.testing.assert_allclose(place, [-19.6, 12.8, 50.0], atol=1e-9)


@pytest.mark.parametrize(("signed", "stored", "expected"), [(1, 0x0FFF, -7.0), (0, 0x0FFF, 8185.0), (1, 0xFFFF, -7.0)])
def test_twelve_bit_pixels_keep_their_sign(tmp_path: Path, signed: int, stored: int, expected: float) -> None:
    """-1 in 12 bits is 0x0FFF, whether or not the spare bits repeat the sign; 2 x -1 - 5 = -7."""
    data = np.full((samples.ROWS, samples.COLS), stored, dtype="<u2").tobytes()
    tags = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": signed, "PixelData": data}
    study = read_dicom_study(samples.write_study(tmp_path, **tags))
    assert np.unique(study.series.frames).tolist() == [expected]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"])
def test_implicit_big_endian_and_run_length_coded_files(tmp_path: Path, syntax: str) -> None:
    files = samples.write_study(tmp_path)
    for i, file in enumerate(files):
        ds = samples.classic(i % 3, i // 3)
        if syntax.endswith("2.2"):
            ds.PixelData = samples.pixels(i % 3, i // 3).astype(">i2").tobytes()
        if syntax.endswith("2.5"):
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.compress(RLELossless, generate_instance_uid=False)
        samples.write(file, ds, syntax)
    assert_frames_are_right(read_dicom_study(files))


def test_times_across_midnight_keep_rising(tmp_path: Path) -> None:
    def late(ds: Dataset, s: int, t: int) -> None:
        ds.AcquisitionTime = samples.clock((86_400 - 4 + 0.8 * t + 0.2 * s) % 86_400)

    study = read_dicom_study(samples.write_study(tmp_path, late))
    assert_frames_are_right(study)
    np.testing.assert_allclose(study.series.times_s[0], 0.8 * np.arange(samples.N_FRAMES), atol=1e-9)


@pytest.mark.parametrize("one_series", [True, False])
@pytest.mark.parametrize("gap_s", [0.2, 10.0])
def test_slices_on_either_side_of_midnight_stay_together(tmp_path: Path, gap_s: float, one_series: bool) -> None:
    """Frame 0 of the base at 23:59:59.9 and all of mid and apex after midnight; or slice after slice, 10 s each."""
    start_s = 86_400 - (0.1 if gap_s < 1 else 9.0)
    files = [
        samples.write(
            tmp_path / f"{s}-{t}",
            samples.classic(
                s,
                t,
                series_uid="1.2.9" if one_series else f"1.2.9.{s}",
                AcquisitionTime=samples.clock((start_s + 0.8 * t + gap_s * s) % 86_400),
                ContentTime=None,
            ),
        )
        for s in range(3)
        for t in range(samples.N_FRAMES)
    ]
    study = read_dicom_study(files)
    for s in range(3):
        np.testing.assert_allclose(study.series.times_s[s], gap_s * s + 0.8 * np.arange(samples.N_FRAMES), atol=1e-5)


def test_base_comes_first_whatever_way_the_normal_points(tmp_path: Path) -> None:
    """With row and column directions exchanged the normal turns round, the heart does not."""
    turned = [*samples.ORIENTATION[3:], *samples.ORIENTATION[:3]]
    study = read_dicom_study(samples.write_study(tmp_path, ImageOrientationPatient=turned))
    assert study.series.geometry is not None
    assert [g.position_mm for g in study.series.geometry] == [samples.position(s) for s in range(3)]


def test_an_unusual_orientation_is_read_with_a_warning(tmp_path: Path) -> None:
    """A normal along (1, 1, 0) is perpendicular to the direction from base to apex (1, -1, -1)."""
    h = 0.5**0.5
    files = [
        samples.write(
            tmp_path / f"{s}-{t}",
            samples.classic(s, t, ImageOrientationPatient=[h, -h, 0, 0, 0, -1], ImagePositionPatient=[8 * s, 8 * s, 0]),
        )
        for s in range(3)
        for t in range(samples.N_FRAMES)
    ]
    warning = "the slices' normal does not point from base to apex as usual: check the order of the slices"
    study = read_dicom_study(files)
    assert study.warnings == (warning,)
    assert warning in study.series.remarks
    assert read_dicom_study(files[: samples.N_FRAMES]).warnings == ()  # one slice has no order


def test_what_is_not_the_perfusion_run_is_left_out_in_words(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path)
    extra = {"SeriesNumber": 2, "series_uid": "1.2.8", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    files += [samples.write(tmp_path / "localiser", samples.classic(5, 0, **extra))]
    aif = {"SeriesNumber": 13, "series_uid": "1.2.9", "SeriesDescription": "perf_AIF_1", "PixelSpacing": [5, 4]}
    files += [samples.write(tmp_path / f"aif{t}", samples.classic(s, t, **aif)) for t in range(10) for s in range(3)][
        ::3
    ]
    cine = {"SeriesNumber": 4, "series_uid": "1.2.7", "ImagePositionPatient": [0, 0, 0]}
    for t in range(30):
        frame = samples.classic(0, t, **cine)
        frame.AcquisitionTime, frame.ContentTime, frame.TriggerTime = "101000", "101000", 30.0 * t
        files.append(samples.write(tmp_path / f"cine{t}", frame))
    proton = {"SeriesNumber": 11, "series_uid": "1.2.6"}
    files += [samples.write(tmp_path / f"pd{t}", samples.classic(1, t, **proton)) for t in range(2)]
    side = tmp_path / "truth.json"
    side.write_text("{}")
    twin = tmp_path / "twin"
    twin.write_bytes(files[0].read_bytes())
    study = read_dicom_study([*files, side, twin])
    assert_frames_are_right(study)
    assert study.series.remarks == (
        "frame times from AcquisitionTime",
        "left out 1 file that is no DICOM",
        "1 file came twice and counted once",
        "left out 2 frames of series 11: other, too few frames for a first pass",
        "left out 10 frames of series 13: aif, its name says AIF",
        "left out 1 frame of series 2: other, too few frames for a first pass",
        "left out 30 frames of series 4: other, its frames span no first pass",
    )


def test_phase_images_beside_magnitude_are_left_out(tmp_path: Path) -> None:
    files = samples.write_study(tmp_path / "m")
    phase = {"SeriesNumber": 13, "series_uid": "1.2.9", "ImageType": ["ORIGINAL", "PRIMARY", "P"]}
    study = read_dicom_study([*files, *samples.write_study(tmp_path / "p", **phase)])
    assert_frames_are_right(study)
    assert study.series.remarks[1:] == ("left out 30 frames of series 13: no magnitude images",)


def test_instance_numbers_that_contradict_the_clock_are_warned_of(tmp_path: Path) -> None:
    files = [
        samples.write(tmp_path / f"{s}-{t}", samples.classic(s, t, InstanceNumber=100 - 3 * t - s))
        for s in range(3)
        for t in range(samples.N_FRAMES)
    ]
    study = read_dicom_study(files)
    assert_frames_are_right(study)
    assert study.warnings == ("the instance numbers contradict every time tag; frames are ordered by AcquisitionTime",)
