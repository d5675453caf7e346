"""Blood flow inside an analysis: from DICOM to result.json, maps, figure, DICOM map and perfusion reserve."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from pool.__main__ import main, summary
from pool.analysis import AnalysisSettings, MemberAnswer, StudyAnalysis, conclude
from pool.dicom.read import DicomStudy, read_dicom_study
from pool.errors import InconsistentStudyError
from pool.figures.flow import draw_bullseye, draw_fits, draw_input
from pool.flow import FlowInputs, runners_up
from pool.flow_check import sequence_of, true_outlines
from pool.manifest import PoolManifest
from pool.perfusion.arterial import PREBOLUS, AifSeries
from pool.perfusion.measure import measure_flow
from pool.perfusion.results import NoFlow, StudyFlow
from pool.phantom.dicom_files import write_dicom_study
from pool.phantom.presets import get_preset
from pool.phantom.study import make_study
from pool.phantom.study_types import PhantomStudy
from pool.preprocess import prepare
from pool.reserve_command import read_flow, refuse_other_patient
from pool.results import result_dict, write_results
from pool.series import PerfusionSeries
from pool.shapes import BLOOD_POOL, MYOCARDIUM
from pool.sweep import MemberMaps
from tests.samples import tiny_pool

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def study() -> PhantomStudy:
    return make_study(get_preset("exD-1"), 1009, 45, dual_bolus=True)


@pytest.fixture(scope="module")
def dicom(study: PhantomStudy, tmp_path_factory: pytest.TempPathFactory) -> DicomStudy:
    return read_dicom_study(write_dicom_study(study, tmp_path_factory.mktemp("dicom") / "study"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> PoolManifest:
    return tiny_pool(tmp_path_factory.mktemp("pool"), 3)


def answers_of(series: PerfusionSeries, study: PhantomStudy) -> list[dict[str, MemberAnswer]]:
    """Member 0 draws the truth, member 1 the same moved by a pixel and almost as certain, member 2 is in doubt."""
    answers: list[dict[str, MemberAnswer]] = []
    for prepared, labels in zip(prepare(series), study.labels):
        truth = prepared.way_back.labels_from_native(labels)
        answers.append({})
        for member, u_pp in ((0, 0.010), (1, 0.0105), (2, 0.5)):
            moved = np.roll(truth, member, axis=1)
            probability = np.stack([moved == k for k in (0, MYOCARDIUM, BLOOD_POOL)]).astype(np.float32)
            n_myo = int(probability[MYOCARDIUM].sum())
            maps = MemberMaps(probability[1] > 0.5, probability, 0 * probability[0], u_pp * n_myo, n_myo)
            answers[-1][f"s{member}-e01"] = maps
    return answers


def concluded(
    series: PerfusionSeries, study: PhantomStudy, manifest: PoolManifest, with_prebolus: bool = True
) -> StudyAnalysis:
    assert study.prebolus is not None
    other = AifSeries(study.prebolus.series, PREBOLUS) if with_prebolus else None
    inputs = FlowInputs(other=other)
    answers = answers_of(series, study)
    return conclude(series, prepare(series), answers, manifest, AnalysisSettings(), inputs)


@pytest.fixture(scope="module")
def analysis(dicom: DicomStudy, study: PhantomStudy, manifest: PoolManifest) -> StudyAnalysis:
    return concluded(dicom.series, study, manifest)


def test_headers_say_how_the_frames_were_made(study: PhantomStudy, dicom: DicomStudy) -> None:
    found, truth = dicom.series.sequence, sequence_of(study.scan)
    assert found is not None
    assert replace(found, n_pulses_before=truth.n_pulses_before, pulses_estimated=False) == truth
    assert abs(found.n_pulses_before - truth.n_pulses_before) <= 2


def test_flow_of_the_believed_outlines_is_near_the_truth(analysis: StudyAnalysis, study: PhantomStudy) -> None:
    flow = analysis.flow
    assert isinstance(flow, StudyFlow)
    assert any("readout pulses were taken to precede" in remark for remark in flow.remarks)
    errors = []
    for item in flow.segments:
        at = study.series.slice_names.index(item.slice_name)
        shown = next(s for s in flow.slices if s.name == item.slice_name)
        truth = study.mbf_ml_min_g[at][shown.averaged & (shown.segment == item.number) & (study.mbf_ml_min_g[at] > 0)]
        if item.mbf_ml_min_g is not None:
            errors.append(abs(item.mbf_ml_min_g / float(truth.mean()) - 1))
            assert len(item.mbf_runners_up) == 1  # member 1 is within the margin, member 2 is not
    assert len(errors) >= 15
    assert np.median(errors) < 0.1


def test_results_hold_segments_maps_figure_and_dicom_map(
    analysis: StudyAnalysis, dicom: DicomStudy, tmp_path: Path
) -> None:
    assert isinstance(analysis.flow, StudyFlow)
    write_results(analysis, tmp_path / "out", dicom)
    fields = json.loads((tmp_path / "out" / "result.json").read_text())["flow"]
    assert [item["number"] for item in fields["segments"]] == list(range(1, 17))
    assert fields["state"] == "stress"  # as the headers say
    assert fields["aif"]["source"] == PREBOLUS
    low, high = fields["segments"][0]["mbf_range"]
    assert low <= fields["segments"][0]["mbf_ml_min_g"] <= high
    with np.load(tmp_path / "out" / "maps.npz") as maps:
        np.testing.assert_array_equal(maps["segment"] > 0, maps["mask"])
        stored = maps["mbf_ml_min_g"]
    written = pydicom.dcmread(tmp_path / "out" / "mbf.dcm")
    shape = (3, written.Rows, written.Columns)
    pixels = np.frombuffer(written.FloatPixelData, dtype="<f4").reshape(shape)
    np.testing.assert_array_equal(pixels, np.nan_to_num(stored))
    mapping = written.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "mL/min/g"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "126390"
    assert (tmp_path / "out" / "flow.png").read_bytes()[:4] == b"\x89PNG"
    words = summary(analysis)
    assert "blood flow in mL/min/g, input dual-bolus" in words
    assert read_flow(tmp_path / "out").segments == analysis.flow.segments


def test_a_study_whose_every_pixel_failed_keeps_its_other_results(
    analysis: StudyAnalysis, dicom: DicomStudy, tmp_path: Path
) -> None:
    flow = analysis.flow
    assert isinstance(flow, StudyFlow)
    nothing = tuple(replace(s, mbf=np.full_like(s.mbf, np.nan), failed=s.segment > 0) for s in flow.slices)
    names = {
        path.name for path in write_results(replace(analysis, flow=replace(flow, slices=nothing)), tmp_path, dicom)
    }
    assert {"segmentation.dcm", "report.dcm", "flow.png", "result.json"} <= names
    assert "mbf.dcm" not in names


def test_what_keeps_flow_from_being_measured_is_a_reason_beside_the_outline(
    dicom: DicomStudy, study: PhantomStudy, manifest: PoolManifest
) -> None:
    unknown = replace(dicom.series, sequence=None)
    found = concluded(unknown, study, manifest, with_prebolus=False)
    assert isinstance(found.flow, NoFlow)
    assert result_dict(found)["flow"]["reason"].startswith("blood flow: needs saturation time")
    assert "no blood flow: blood flow: needs" in summary(found)
    none = conclude(unknown, prepare(unknown), answers_of(unknown, study), manifest, AnalysisSettings(flow=None))
    assert none.flow is None
    assert result_dict(none)["flow"] is None
    assert found.masks.any()


def test_runners_up_are_within_the_margin_of_the_least(analysis: StudyAnalysis) -> None:
    item = analysis.slices[1]
    assert list(runners_up(item, 0.1)) == ["s1-e01"]
    assert list(runners_up(item, 0.01)) == []
    assert list(runners_up(item, 100.0)) == ["s1-e01", "s2-e01"]


def test_figures_show_every_segment_and_what_was_fitted(study: PhantomStudy) -> None:
    from matplotlib.figure import Figure

    assert study.prebolus is not None
    other = AifSeries(study.prebolus.series, PREBOLUS)
    flow, curves = measure_flow(study.series, sequence_of(study.scan), {0: true_outlines(study)[0]}, other=other)
    first, second, third = Figure().subplots(1, 3)
    draw_bullseye({1: 1.25, 2: None}, 2.0, first)
    texts = [text.get_text() for text in first.texts]
    assert len(texts) == 16
    assert texts.count("1.25") == 1
    x, y = next(text.get_position() for text in first.texts if text.get_text() == "1.25")
    assert abs(x) < 0.01  # the basal anterior segment lies at the top, outside
    assert y == pytest.approx(2.5)
    draw_input(curves, second)
    draw_fits(curves, flow, (1, 4), third)
    assert len(third.lines) == 4


def test_reserve_command_compares_two_results_of_one_patient(
    analysis: StudyAnalysis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(analysis.flow, StudyFlow)
    halved = tuple(
        replace(item, mbf_ml_min_g=None if item.mbf_ml_min_g is None else item.mbf_ml_min_g / 2, mbf_runners_up=())
        for item in analysis.flow.segments
    )
    rest = replace(analysis, flow=replace(analysis.flow, segments=halved, state="rest"))
    stress = replace(analysis, flow=replace(analysis.flow, state="stress"))
    for name, item in (("stress", stress), ("rest", rest)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result.json").write_text(json.dumps(result_dict(item)))
    arguments = ["reserve", str(tmp_path / "stress"), str(tmp_path / "rest"), "--out", str(tmp_path / "mpr")]
    assert main(arguments) == 0
    found = json.loads((tmp_path / "mpr" / "reserve.json").read_text())
    assert [item["mpr"] for item in found if item["mpr"]] == pytest.approx([2.0] * sum(bool(i["mpr"]) for i in found))
    assert " 1 basal anterior         2.00" in capsys.readouterr().out
    assert main([*arguments[:1], arguments[2], arguments[1], *arguments[3:]]) == 2
    assert "Swap the two" in capsys.readouterr().err


def test_two_patients_are_not_compared(tmp_path: Path) -> None:
    for name in ("stress", "rest"):
        (tmp_path / name).mkdir()
        header = pydicom.Dataset()
        header.PatientID = name
        header.SOPClassUID, header.SOPInstanceUID = "1.2.3", "1.2.4"
        header.file_meta = pydicom.dataset.FileMetaDataset()
        header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        header.save_as(tmp_path / name / "segmentation.dcm", enforce_file_format=True)
    with pytest.raises(InconsistentStudyError, match="stress and rest must be of one patient; found two PatientIDs"):
        refuse_other_patient(tmp_path / "stress", tmp_path / "rest")
