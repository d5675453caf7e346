"""Geometry by an independent witness: places worked out on paper, bytes counted by hand, other libraries' readers.

A reader and a writer that share one wrong convention agree with each other. So every test here starts or ends outside
of both: at a byte of a file, at a position on paper, or in SimpleITK, nibabel or highdicom.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import pool.dicom.derived
import pool.dicom.read
from pool.analysis import AnalysisSettings, conclude
from pool.dicom.frames import FrameRecord
from pool.dicom.objects import write_dicom_objects
from pool.dicom.read import DicomStudy, read_dicom_study
from pool.manifest import MemberEntry, PoolManifest
from pool.nifti_out import write_nifti_maps
from pool.preprocess import PreparedSlice, prepare
from pool.shapes import MYOCARDIUM
from pool.sweep import MemberMaps
from tests.pool.dicom import dicom_samples as samples
from tests.samples import TINY, bolus_frames

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROWS, COLS, N = 96, 80, 12
CENTRE = (50.0, 42.0)
H = 0.5**0.5
# name: row direction, column direction, spacing (rows, cols), first pixel of the base, step to the next slice; then on
# paper the LV's centre (row 50, column 42): first + 42 x distance of columns x row direction + 50 x distance of rows x
# column direction
CASES: Mapping[str, tuple[list[float], list[float], tuple[float, float], list[float], list[float], list[float]]] = {
    "oblique": ([0.8, 0.6, 0], [0, 0, -1], (1.9, 1.9), [-40, 10, 60], [6, -8, 0], [23.84, 57.88, -35.0]),
    "doubly oblique": ([H, H, 0], [0.5, -0.5, -H], (1.9, 1.9), [0, 0, 0], [4, -4, 8 * H], [103.93, 8.93, -67.18]),
    "columns to the right": ([-0.8, -0.6, 0], [0, 0, -1], (1.9, 1.9), [50, 90, 60], [6, -8, 0], [-13.84, 42.12, -35.0]),
    "rows to the head": ([0.8, 0.6, 0], [0, 0, 1], (1.9, 1.9), [-40, 10, -60], [6, -8, 0], [23.84, 57.88, 35.0]),
    "unequal spacing": ([0.8, 0.6, 0], [0, 0, -1], (1.5, 2.0), [-40, 10, 60], [6, -8, 0], [27.2, 60.4, -15.0]),
}


def write_case(folder: Path, name: str) -> list[Path]:
    row, column, spacing, first, step, _ = CASES[name]
    frames = np.round(bolus_frames((ROWS, COLS), CENTRE, n_frames=N)).astype("<i2")
    files = []
    for s in range(2):
        for t in range(N):
            place = [a + s * b for a, b in zip(first, step, strict=True)]
            tags = {
                "Rows": ROWS,
                "Columns": COLS,
                "PixelSpacing": list(spacing),
                "ImageOrientationPatient": [*row, *column],
                "ImagePositionPatient": place,
                "RescaleSlope": 1,
                "RescaleIntercept": 0,
                "PixelData": frames[t].tobytes(),
            }
            files.append(samples.write(folder / f"{s}-{t}", samples.classic(s, t, **tags)))
    return files


def analysed(study: DicomStudy, folder: Path) -> None:
    """An analysis whose one member outlines what is bright in the prepared frames at the LV's peak, at a stroke."""

    def believe(item: PreparedSlice) -> MemberMaps:
        bright = (item.frames[int(0.45 * len(item.frames))] > 0.5).astype(np.float32)
        probability = np.stack([1 - bright, bright, 0 * bright])
        return MemberMaps(bright >= 0.5, probability, bright * 0.1, 1.0, int(bright.sum()))

    prepared = prepare(study.series)
    manifest = PoolManifest("witness", (MemberEntry("s0-e01", 0, 1, 0.5, TINY, "0" * 64),), {"data": "none"})
    answers = [{"s0-e01": believe(item)} for item in prepared]
    analysis = conclude(study.series, prepared, answers, manifest, AnalysisSettings())
    write_dicom_objects(analysis, study, folder)
    write_nifti_maps(np.where(analysis.masks, MYOCARDIUM, 0).astype(np.uint8), study.series, folder, "mask", 8.0)


@pytest.mark.parametrize("name", list(CASES))
def test_a_heart_is_outlined_where_it_lies_in_the_patient(tmp_path: Path, name: str) -> None:
    """Read, prepared, outlined, brought back and written; then the outline's centre by two other readers."""
    study = read_dicom_study(write_case(tmp_path / "in", name))
    (tmp_path / "out").mkdir()
    analysed(study, tmp_path / "out")
    on_paper = np.array(CASES[name][-1])

    seg = hd.seg.segread(tmp_path / "out" / "segmentation.dcm")
    found = []
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        to_patient = hd.spatial.PixelToReferenceTransformer(
            item.PlanePositionSequence[0].ImagePositionPatient,
            seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient,
            seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing,
        )
        found.append(to_patient(np.argwhere(frame)[:, ::-1]).mean(axis=0))
    step = np.array(CASES[name][4])
    distances = [min(np.linalg.norm(place - on_paper - s * step) for s in (0, 1)) for place in found]
    assert len(found) == 2
    assert max(distances) < 0.6

    image = nibabel.load(tmp_path / "out" / "mask.nii.gz")
    voxels = np.argwhere(np.asarray(image.dataobj))  # type: ignore[attr-defined]
    centre = voxels.mean(axis=0) @ image.affine[:3, :3].T + image.affine[:3, 3]  # type: ignore[attr-defined]
    np.testing.assert_allclose(centre * (-1, -1, 1), on_paper + step / 2, atol=0.6)


@pytest.mark.parametrize("name", list(CASES))
def test_simpleitk_puts_every_pixel_where_we_do(tmp_path: Path, name: str) -> None:
    itk = pytest.importorskip("SimpleITK")
    files = write_case(tmp_path, name)
    study = read_dicom_study(files)
    assert study.series.geometry is not None
    assert study.series.pixel_spacing_mm is not None
    image = itk.ReadImage(str(files[N]))  # the second slice's first frame
    s = next(s for s, source in enumerate(study.sources) if source[0].sop_instance_uid.endswith(".2.1"))
    np.testing.assert_array_equal(itk.GetArrayFromImage(image)[0], study.series.frames[s, 0])
    for row, col in ((0, 0), (50, 42), (95, 79)):
        theirs = image.TransformIndexToPhysicalPoint([col, row, 0])
        ours = study.series.geometry[s].to_patient_mm(row, col, study.series.pixel_spacing_mm)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def witness_of_one_pixel(folder: Path) -> None:
    """One bright pixel from its byte in the source file to its bit in the segmentation.

    Row 4, column 9 of 12 rows and 16 columns is value 73 of the file; slice mid is at (-34, 2, 60). Its place is
    (-34, 2, 60) + 9 x 2 x (0.8, 0.6, 0) + 4 x 2.5 x (0, 0, -1) = (-19.6, 12.8, 50).
    """
    files = samples.write_study(folder / "in")
    values = np.zeros(12 * 16, dtype="<i2")
    values[73] = 7000
    for t in range(samples.N_FRAMES):
        samples.write(files[1 + 3 * t], samples.classic(1, t, PixelData=values.tobytes()))
    study = read_dicom_study(files)
    bright = study.series.frames[:, 5] > 10_000
    assert np.argwhere(bright).tolist() == [[1, 4, 9]]
    assert study.series.geometry is not None
    assert study.series.pixel_spacing_mm is not None
    place = study.series.geometry[1].to_patient_mm(4, 9, study.series.pixel_spacing_mm)
    np.testing.assert_allclose(place, [-19.6, 12.8, 50.0], atol=1e-6)
    write_seg = pool.dicom.segmentation.write_segmentation
    write_seg(folder / "seg.dcm", study, bright, origin=pool.dicom.derived.Origin("i", "ab" * 32, "0"))
    seg = pydicom.dcmread(folder / "seg.dcm")
    bits = np.unpackbits(np.frombuffer(seg.PixelData, dtype=np.uint8), bitorder="little")
    assert (seg.Rows, seg.Columns) == (12, 16)
    assert bits.nonzero()[0].tolist() == [73]
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == [2.5, 2.0]
    assert [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient] == [0.8, 0.6, 0, 0, 0, -1]


def test_one_pixel_from_byte_to_bit(tmp_path: Path) -> None:
    witness_of_one_pixel(tmp_path)


@pytest.mark.parametrize("what", ["pixels", "spacing", "directions"])
def test_rows_and_columns_swapped_in_reader_and_writer_together_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The one mistake that a round trip cannot see, made on purpose on both sides: the witness must see it."""
    read_pixels, common = pool.dicom.read.read_pixels, pool.dicom.derived.common_arguments
    make = FrameRecord.__init__

    def swapped_record(self: FrameRecord, **fields: object) -> None:
        if what == "spacing":
            fields["spacing_mm"] = fields["spacing_mm"][::-1]  # type: ignore[index]
        if what == "directions":
            both = fields["orientation"]
            fields["orientation"] = (*both[3:], *both[:3])  # type: ignore[index]
        make(self, **fields)  # type: ignore[arg-type]

    def swapped_common(study: DicomStudy, *arguments: object) -> dict[str, object]:
        made = common(study, *arguments)  # type: ignore[arg-type]
        if what == "spacing":
            made["pixel_measures"] = hd.PixelMeasuresSequence(study.series.pixel_spacing_mm[::-1], 8.0)  # type: ignore
        if what == "directions":
            both = study.series.geometry[0].orientation  # type: ignore[index]
            turned = (*both[3:], *both[:3])
            made["plane_orientation"] = hd.PlaneOrientationSequence("PATIENT", turned)
        return made

    if what == "pixels":

        def transposed(path: Path, whole: Dataset) -> np.ndarray:
            stored = read_pixels(path, whole)
            return stored.reshape(stored.shape[0], stored.shape[2], stored.shape[1]).transpose(0, 2, 1)

        monkeypatch.setattr("pool.dicom.read.read_pixels", transposed)
    monkeypatch.setattr(FrameRecord, "__init__", swapped_record)
    monkeypatch.setattr("pool.dicom.segmentation.common_arguments", swapped_common)
    with pytest.raises(AssertionError):
        witness_of_one_pixel(tmp_path)
