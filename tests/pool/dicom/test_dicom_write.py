"""Segmentation and parametric map: right pixels at the right place of the right patient, and valid DICOM."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pool.dicom.derived import Origin
from pool.dicom.parametric_map import write_parametric_map
from pool.dicom.read import DicomStudy, read_dicom_study
from pool.dicom.segmentation import write_segmentation
from pool.errors import OutputError
from tests.pool.dicom import dicom_samples as samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ORIGIN = Origin(identity="series pool settings", pool_sha256="ab" * 32, version="0.1.0")
GRID = (3, samples.ROWS, samples.COLS)


@pytest.fixture(params=["classic", "one series a slice", "enhanced"])
def study(tmp_path: Path, request: pytest.FixtureRequest) -> DicomStudy:
    """The same study as scanners write it."""
    if request.param == "enhanced":
        return read_dicom_study([samples.write(tmp_path / "e.dcm", samples.enhanced())])
    own = request.param != "classic"
    return read_dicom_study(
        [
            samples.write(
                tmp_path / f"{s}-{t}", samples.classic(s, t, series_uid=f"1.2.9.{s}" if own else samples.SERIES_UID)
            )
            for s in range(3)
            for t in range(samples.N_FRAMES)
        ]
    )


def masks() -> tuple[np.ndarray, np.ndarray]:
    """One pixel of myocardium in the base and one in the apex, none in the middle; blood beside the latter."""
    myocardium, blood = np.zeros(GRID, dtype=bool), np.zeros(GRID, dtype=bool)
    myocardium[0, 4, 9] = myocardium[2, 10, 3] = blood[2, 10, 4] = True
    return myocardium, blood


def unpacked(seg: Dataset) -> np.ndarray:
    """Bits of a BINARY segmentation, by hand: first pixel in the lowest bit (PS3.5, 8.1.1)."""
    n = seg.NumberOfFrames * seg.Rows * seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, dtype=np.uint8), bitorder="little")[:n]
    return bits.reshape(seg.NumberOfFrames, seg.Rows, seg.Columns)


def test_segmentation_puts_each_pixel_at_its_place_in_the_patient(tmp_path: Path, study: DicomStudy) -> None:
    """On paper: base (-40, 10, 60) + 9 x 2 x (0.8, 0.6, 0) + 4 x 2.5 x (0, 0, -1) = (-25.6, 20.8, 50);
    apex (-28, -6, 60) + 3 x 2 x (0.8, 0.6, 0) + 10 x 2.5 x (0, 0, -1) = (-23.2, -2.4, 35), blood one column on."""
    myocardium, blood = masks()
    write_segmentation(tmp_path / "seg.dcm", study, myocardium, lv_blood=blood, origin=ORIGIN)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    row_mm, col_mm = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for item, bits in zip(seg.PerFrameFunctionalGroupsSequence, unpacked(seg), strict=True):
        ((row, col),) = np.argwhere(bits)
        corner = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        place = corner + orientation[:3] * col * col_mm + orientation[3:] * row * row_mm
        found.append((item.SegmentIdentificationSequence[0].ReferencedSegmentNumber, *np.round(place, 6)))
    assert found == [(1, -25.6, 20.8, 50.0), (1, -23.2, -2.4, 35.0), (2, -21.6, -1.2, 35.0)]
    assert float(shared.PixelMeasuresSequence[0].SliceThickness) == 8.0


def test_segmentation_links_to_patient_study_and_source_frames(tmp_path: Path, study: DicomStudy) -> None:
    myocardium, blood = masks()
    write_segmentation(tmp_path / "seg.dcm", study, myocardium, lv_blood=blood, origin=ORIGIN)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert_clinical_links(seg, study, [0, 2, 2])
    assert (seg.SegmentationType, seg.Modality) == ("BINARY", "SEG")
    kinds = [s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence]
    assert [(k.CodeValue, k.CodingSchemeDesignator) for k in kinds] == [("49848007", "SCT"), ("87612001", "SCT")]
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("DAUGS pool", "0.1.0")
    assert "ab" * 32 in algorithm.AlgorithmParameters
    assert "research use only, not for diagnosis" in algorithm.AlgorithmParameters


def test_parametric_map_keeps_every_bit(tmp_path: Path, study: DicomStudy) -> None:
    values = (np.random.default_rng(5).random(GRID) / 2).astype(np.float32)
    write_parametric_map(tmp_path / "pm.dcm", study, values, origin=ORIGIN)
    made = pydicom.dcmread(tmp_path / "pm.dcm")
    stored = np.frombuffer(made.FloatPixelData, dtype="<f4").reshape(GRID)
    corners = [tuple(i.PlanePositionSequence[0].ImagePositionPatient) for i in made.PerFrameFunctionalGroupsSequence]
    for s in range(3):
        np.testing.assert_array_equal(stored[corners.index(samples.position(s))], values[s])
    assert_clinical_links(made, study, [corners.index(samples.position(s)) for s in range(3)])
    shared = made.SharedFunctionalGroupsSequence[0]
    window = shared.FrameVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth, window.VOILUTFunction) == (0.25, 0.5, "LINEAR_EXACT")
    mapping = shared.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "1"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "113061"


def test_a_slice_without_an_outline_has_no_frame_in_the_map(tmp_path: Path, study: DicomStudy) -> None:
    values = np.full(GRID, 0.25, dtype=np.float32)
    values[1] = np.nan
    write_parametric_map(tmp_path / "pm.dcm", study, values, origin=ORIGIN)
    made = pydicom.dcmread(tmp_path / "pm.dcm")
    corners = [tuple(i.PlanePositionSequence[0].ImagePositionPatient) for i in made.PerFrameFunctionalGroupsSequence]
    assert sorted(corners) == sorted([samples.position(0), samples.position(2)])
    assert np.frombuffer(made.FloatPixelData, dtype="<f4").tolist() == [0.25] * (2 * GRID[1] * GRID[2])


def assert_clinical_links(made: Dataset, study: DicomStudy, slices: list[int]) -> None:
    """Same patient, study and frame of reference; a new series; the source frame of every frame, and all sources."""
    for tag in ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID", "StudyDate"):
        assert str(made[tag].value) == study.identity[tag]
    all_series = {source.series_uid for sources in study.sources for source in sources}
    assert made.SeriesInstanceUID not in all_series
    assert "research use only, not for diagnosis" in made.ContentDescription
    assert "research use only, not for diagnosis" in made.SeriesDescription
    for item, s in zip(made.PerFrameFunctionalGroupsSequence, slices, strict=True):
        reference = item.DerivationImageSequence[0].SourceImageSequence[0]
        assert reference.ReferencedSOPInstanceUID == study.sources[s][0].sop_instance_uid
        assert reference.ReferencedSOPClassUID == study.sources[s][0].sop_class_uid
        assert reference.get("ReferencedFrameNumber") == study.sources[s][0].frame_number
    all_sources = {source.sop_instance_uid for sources in study.sources for source in sources}
    assert {r.ReferencedSOPInstanceUID for r in made.SourceImageSequence} == all_sources
    listed = {
        (series.SeriesInstanceUID, reference.ReferencedSOPInstanceUID)
        for series in made.ReferencedSeriesSequence
        for reference in series.ReferencedInstanceSequence
    }
    assert listed == {(source.series_uid, source.sop_instance_uid) for sources in study.sources for source in sources}


def test_same_input_same_bytes_and_other_identity_other_uids(tmp_path: Path, study: DicomStudy) -> None:
    myocardium, _ = masks()
    values = np.zeros(GRID, dtype=np.float32)
    other = Origin("another", ORIGIN.pool_sha256, ORIGIN.version)
    for name, origin in (("a", ORIGIN), ("b", ORIGIN), ("c", other)):
        write_segmentation(tmp_path / f"seg-{name}", study, myocardium, origin=origin)
        write_parametric_map(tmp_path / f"pm-{name}", study, values, origin=origin)
    uids = set()
    for kind in ("seg", "pm"):
        assert (tmp_path / f"{kind}-a").read_bytes() == (tmp_path / f"{kind}-b").read_bytes()
        for name in ("a", "c"):
            made = pydicom.dcmread(tmp_path / f"{kind}-{name}")
            uids |= {made.SOPInstanceUID, made.SeriesInstanceUID}
    assert len(uids) == 8
    assert not list(tmp_path.glob(".*"))


def test_an_answer_from_fewer_members_says_so_in_every_object(tmp_path: Path, study: DicomStudy) -> None:
    few = "48 of 50 members answered about slice base"
    origin = replace(ORIGIN, few_answers=few)
    write_segmentation(tmp_path / "seg.dcm", study, masks()[0], origin=origin)
    write_parametric_map(tmp_path / "pm.dcm", study, np.zeros(GRID, dtype=np.float32), origin=origin)
    for name in ("seg.dcm", "pm.dcm"):
        assert pydicom.dcmread(tmp_path / name).ImageComments == few
    (algorithm,) = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert f"incomplete={few}" in algorithm.AlgorithmParameters
    write_segmentation(tmp_path / "whole.dcm", study, masks()[0], origin=ORIGIN)
    assert "ImageComments" not in pydicom.dcmread(tmp_path / "whole.dcm")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
def test_both_objects_are_valid(tmp_path: Path, study: DicomStudy) -> None:
    myocardium, blood = masks()
    write_segmentation(tmp_path / "seg.dcm", study, myocardium, lv_blood=blood, origin=ORIGIN)
    write_parametric_map(tmp_path / "pm.dcm", study, np.full(GRID, 0.1, dtype=np.float32), origin=ORIGIN)
    for name, kind in (("seg.dcm", "Segmentation"), ("pm.dcm", "ParametricMap")):
        done = subprocess.run(["dciodvfy", str(tmp_path / name)], capture_output=True, text=True, check=False)
        report = done.stdout + done.stderr
        assert kind in report
        assert "Error" not in report, report


def test_headers_stripped_by_an_anonymiser_still_serve(tmp_path: Path) -> None:
    stripped = ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber")
    gone = dict.fromkeys((*stripped, "ReferringPhysicianName", "FrameOfReferenceUID", "SliceThickness", "PatientID"))
    study = read_dicom_study(samples.write_study(tmp_path / "in", **gone))
    write_segmentation(tmp_path / "seg.dcm", study, masks()[0], origin=ORIGIN)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    assert (seg.PatientID, seg.ContentDate, seg.NumberOfFrames) == ("", "19000101", 2)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    study = read_dicom_study(samples.write_study(tmp_path / "in"))
    with pytest.raises(OutputError, match=r"segmentation: needs an outline on at least one slice; found none\. "):
        write_segmentation(tmp_path / "s", study, np.zeros(GRID, dtype=bool), origin=ORIGIN)
    with pytest.raises(
        OutputError, match=r"must lie on the native grid \(3, 12, 16\) \(slice row col\); found \(3, 16, 12\)"
    ):
        write_segmentation(tmp_path / "s", study, np.ones((3, 16, 12), dtype=bool), origin=ORIGIN)
    holes = np.zeros(GRID, dtype=np.float32)
    holes[1, 2, 3] = np.nan
    with pytest.raises(OutputError, match="parametric map: every pixel must be a finite number; found NaN or infinite"):
        write_parametric_map(tmp_path / "p", study, holes, origin=ORIGIN)
    with pytest.raises(OutputError, match=r"parametric map: needs a map on at least one slice; found none\. "):
        write_parametric_map(tmp_path / "p", study, np.full(GRID, np.nan, dtype=np.float32), origin=ORIGIN)
    with pytest.raises(OutputError, match="segmentation: must be written; found No such file or directory"):
        write_segmentation(tmp_path / "gone" / "s", study, masks()[0], origin=ORIGIN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
