"""Report, secondary capture, label map and blood pools: what a viewer and a core lab's database read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pool.blood_pools import split_blood_pools
from pool.dicom.capture import EPI_COLOUR, CapturedSlice, write_capture
from pool.dicom.derived import Origin
from pool.dicom.read import DicomStudy, read_dicom_study
from pool.dicom.report import SliceFindings, write_report
from pool.dicom.segmentation import WrittenSegmentation, write_segmentation
from pool.errors import OutputError
from pool.run_choice import Role
from tests.pool.dicom import dicom_samples as samples

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ORIGIN = Origin(identity="series pool settings", pool_sha256="ab" * 32, version="0.1.0")
GRID = (3, samples.ROWS, samples.COLS)
FOUND = [SliceFindings(0, "base", 105.0, 0.0123, 0.2583, "s2-e07", "min-u_pp")]
FOUND += [SliceFindings(2, "apex", 5.0, 0.5, 0.5, "s0-e01", "min-u_pp")]


@dataclass
class Flow:
    number: int
    mbf_ml_min_g: float | None


@pytest.fixture(params=["classic", "enhanced"])
def study(tmp_path: Path, request: pytest.FixtureRequest) -> DicomStudy:
    if request.param == "enhanced":
        files = [samples.write(tmp_path / "e.dcm", samples.enhanced())]
    else:
        files = samples.write_study(tmp_path / "in")
    return replace(read_dicom_study(files), role=Role.STRESS)


def masks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wall in base and apex, LV blood in the base, RV blood in the apex."""
    wall, lv, rv = (np.zeros(GRID, dtype=bool) for _ in range(3))
    wall[0, 3:8, 5:10], lv[0, 4:7, 6:9], wall[2, 10, 3], rv[2, 10, 1] = True, True, True, True
    return wall & ~lv, lv, rv


def drawn(path: Path, study: DicomStudy, labelmap: bool = False) -> WrittenSegmentation:
    wall, lv, rv = masks()
    return write_segmentation(path, study, wall, lv_blood=lv, rv_blood=rv, labelmap=labelmap, origin=ORIGIN)


def nodes(item: Dataset, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Dataset]]:
    for child in item.get("ContentSequence") or []:
        name = child.ConceptNameCodeSequence[0].CodeMeaning if child.get("ConceptNameCodeSequence") else ""
        yield (*path, name), child
        yield from nodes(child, (*path, name))


def groups(report: Dataset) -> list[Dataset]:
    return [node for path, node in nodes(report) if path[-1] == "Measurement Group"]


def numbers(group: Dataset) -> dict[str, tuple[float, str]]:
    found = {}
    for path, node in nodes(group):
        if node.ValueType == "NUM":
            value = node.MeasuredValueSequence[0]
            found[path[-1]] = (float(value.NumericValue), value.MeasurementUnitsCodeSequence[0].CodeValue)
    return found


def test_the_report_says_area_uncertainty_member_pool_and_state(tmp_path: Path, study: DicomStudy) -> None:
    segmentation = drawn(tmp_path / "seg.dcm", study)
    write_report(tmp_path / "sr.dcm", study, FOUND, segmentation, origin=ORIGIN)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.PatientName, report.StudyInstanceUID) == ("Phantom^Secret", samples.STUDY_UID)
    assert "research use only, not for diagnosis" in report.SeriesDescription
    first, second = groups(report)
    assert numbers(first) == {
        "Area": (105.0, "mm2"),
        "Uncertainty per myocardial pixel (U_pp)": (0.0123, "1"),
        "Total uncertainty (U_tot)": (0.2583, "1"),
    }
    assert numbers(second)["Area"] == (5.0, "mm2")
    texts = [node.TextValue for _, node in nodes(first) if node.ValueType == "TEXT"]
    assert {"chosen member: s2-e07", "selection rule: min-u_pp", f"pool SHA-256: {'ab' * 32}"} <= set(texts)
    assert "use: research use only, not for diagnosis" in texts
    (state,) = [node for path, node in nodes(first) if path[-1] == "Patient State"]
    assert state.ConceptCodeSequence[0].CodeValue == "109091"
    assert not any(text.startswith("incomplete") for text in texts)


def test_a_report_of_fewer_members_says_so(tmp_path: Path, study: DicomStudy) -> None:
    few = "48 of 50 members answered about slice base"
    origin = replace(ORIGIN, few_answers=few)
    write_report(tmp_path / "sr.dcm", study, FOUND, drawn(tmp_path / "seg.dcm", study), origin=origin)
    for group in groups(pydicom.dcmread(tmp_path / "sr.dcm")):
        assert f"incomplete: {few}" in [node.TextValue for _, node in nodes(group) if node.ValueType == "TEXT"]


def test_every_reference_of_the_report_resolves(tmp_path: Path, study: DicomStudy) -> None:
    segmentation = drawn(tmp_path / "seg.dcm", study)
    write_report(tmp_path / "sr.dcm", study, FOUND, segmentation, origin=ORIGIN)
    seg, report = pydicom.dcmread(tmp_path / "seg.dcm"), pydicom.dcmread(tmp_path / "sr.dcm")
    listed = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for evidence in report.CurrentRequestedProcedureEvidenceSequence
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    sources = {(source.series_uid, source.sop_instance_uid) for frames in study.sources for source in frames}
    assert listed == sources | {(seg.SeriesInstanceUID, seg.SOPInstanceUID)}
    for group, (s, column) in zip(groups(report), ((0, 7), (2, 3)), strict=True):
        items = {p[-1].lower(): node.ReferencedSOPSequence[0] for p, node in nodes(group) if node.ValueType == "IMAGE"}
        frame = int(items["referenced segmentation frame"].ReferencedFrameNumber)
        assert seg.pixel_array[frame - 1].any(axis=0).nonzero()[0].mean() == column
        source = items["source image for segmentation"]
        assert source.ReferencedSOPInstanceUID == study.sources[s][0].sop_instance_uid
        assert source.get("ReferencedFrameNumber") == study.sources[s][0].frame_number


def test_blood_flow_joins_by_aha_segment(tmp_path: Path, study: DicomStudy) -> None:
    flow = [Flow(1, 2.5), Flow(2, None), Flow(14, 3.25)]
    write_report(tmp_path / "sr.dcm", study, FOUND, drawn(tmp_path / "s", study), flow=flow, origin=ORIGIN)
    added = groups(pydicom.dcmread(tmp_path / "sr.dcm"))[2:]
    assert [numbers(group) for group in added] == [
        {"Absolute Regional Blood Flow": (2.5, "mL/min/g")},
        {"Absolute Regional Blood Flow": (3.25, "mL/min/g")},
    ]
    sites = [
        node.ConceptCodeSequence[0].CodeValue for g in added for path, node in nodes(g) if path[-1] == "Finding Site"
    ]
    assert sites == ["264850008", "264845002"]


def test_segments_are_wall_and_both_cavities_with_their_codes(tmp_path: Path, study: DicomStudy) -> None:
    written = drawn(tmp_path / "seg.dcm", study)
    seg = hd.seg.segread(tmp_path / "seg.dcm")
    assert list(seg.segment_numbers) == [1, 2, 3]
    described = [seg.get_segment_description(number) for number in (1, 2, 3)]
    assert [d.segment_label for d in described] == ["LV myocardium", "LV blood pool", "RV blood pool"]
    assert [d.anatomic_regions[0].value for d in described[1:]] == ["87878005", "53085002"]
    for (s, number), frame in written.frame_of.items():
        np.testing.assert_array_equal(seg.pixel_array[frame - 1], masks()[number - 1][s])
    assert sorted(written.frame_of) == [(0, 1), (0, 2), (2, 1), (2, 3)]


def test_a_label_map_holds_the_same(tmp_path: Path, study: DicomStudy) -> None:
    written = drawn(tmp_path / "seg.dcm", study, labelmap=True)
    made = pydicom.dcmread(tmp_path / "seg.dcm")
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    for (s, number), frame in written.frame_of.items():
        np.testing.assert_array_equal(made.pixel_array[frame - 1] == number, masks()[number - 1][s])
    write_report(tmp_path / "sr.dcm", study, FOUND, written, origin=ORIGIN)


def test_structures_that_overlap_are_refused(tmp_path: Path, study: DicomStudy) -> None:
    wall, _, _ = masks()
    with pytest.raises(OutputError, match="segmentation: structures may not overlap; found a pixel of two structures"):
        write_segmentation(tmp_path / "seg.dcm", study, wall, lv_blood=wall, origin=ORIGIN)


def captured(value: float = 0.0) -> CapturedSlice:
    frame = np.full(GRID[1:], value, dtype=np.float32)
    square = np.array([[2.0, 3.0], [2.0, 9.0], [8.0, 9.0], [8.0, 3.0]])
    return CapturedSlice(frame, [(square, EPI_COLOUR)], "base: s0-e01, U_pp 0.0123")


def test_contours_are_burnt_into_a_picture_that_any_viewer_shows(tmp_path: Path, study: DicomStudy) -> None:
    """12 x 16 pixels of 2.5 x 2 mm are 30 x 32 mm, so 480 x 512 in the picture; column 3 begins at 3 / 16 of it."""
    write_capture(tmp_path / "sc.dcm", study, [captured()] * 3, origin=ORIGIN)
    made = pydicom.dcmread(tmp_path / "sc.dcm")
    picture = made.pixel_array
    assert picture.shape == (480, 3 * 512, 3)
    line = (picture[240, :512] == EPI_COLOUR).all(axis=1).nonzero()[0]
    assert abs(line[0] - 3.5 / 16 * 512) <= 2
    assert abs(line[-1] - 9.5 / 16 * 512) <= 2
    column = (picture[:, 200] == EPI_COLOUR).all(axis=1).nonzero()[0]
    assert abs(column[0] - 2.5 / 12 * 480) <= 2
    assert (made.BurnedInAnnotation, str(made.PatientName)) == ("YES", "Phantom^Secret")
    assert (picture[460:] == 255).all(axis=2).any()  # "RESEARCH USE ONLY"
    references = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
    assert references == {source.sop_instance_uid for frames in study.sources for source in frames}


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian: dicom3tools) is not installed")
def test_all_objects_are_valid_and_always_the_same(tmp_path: Path, study: DicomStudy) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        segmentation = drawn(tmp_path / name / "seg.dcm", study)
        flow = [Flow(number, 1.0) for number in range(1, 17)]
        write_report(tmp_path / name / "sr.dcm", study, FOUND, segmentation, flow=flow, origin=ORIGIN)
        write_capture(tmp_path / name / "sc.dcm", study, [captured(1.0)] * 3, origin=ORIGIN)
    for kind in ("seg.dcm", "sr.dcm", "sc.dcm"):
        assert (tmp_path / "a" / kind).read_bytes() == (tmp_path / "b" / kind).read_bytes()
        done = subprocess.run(["dciodvfy", str(tmp_path / "a" / kind)], capture_output=True, text=True, check=False)
        assert "Error" not in done.stdout + done.stderr, done.stdout + done.stderr


def test_a_name_in_any_script_is_kept(tmp_path: Path) -> None:
    for charset, name in (("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 144", "Люкceмбypг"), ("GB18030", "王^小东")):
        folder = tmp_path / charset
        study = read_dicom_study(samples.write_study(folder, SpecificCharacterSet=charset, PatientName=name))
        drawn(tmp_path / "seg.dcm", study)
        assert str(pydicom.dcmread(tmp_path / "seg.dcm").PatientName) == name


def test_blood_pools_on_a_drawn_heart() -> None:
    """A ring of wall about the LV, the RV beside it, an aorta 30 mm away; a hole of muscle within the LV's blood."""
    rows, cols = np.indices((64, 64))
    distance = np.hypot(rows - 30, cols - 36)
    wall = (distance >= 8) & (distance < 12)
    lv = distance < 8
    rv = (np.hypot(rows - 30, cols - 20) < 9) & (distance >= 12)
    aorta = np.hypot(rows - 58, cols - 58) < 4
    papillary = np.hypot(rows - 33, cols - 38) < 2
    left, right = split_blood_pools(wall, (lv & ~papillary) | rv | aorta, (1.9, 1.9))
    np.testing.assert_array_equal(left, lv)
    np.testing.assert_array_equal(right, rv)
    nothing = np.zeros_like(wall)
    assert not any(pool.any() for pool in split_blood_pools(nothing, rv, (1.9, 1.9)))
