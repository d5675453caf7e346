"""Write what was measured as a structured report, template TID 1500 (PS3.16): areas, U_pp, who drew it, blood flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from pool.dicom.derived import (
    MANUFACTURER,
    MODEL_NAME,
    REFERENCE_FRAME,
    RESEARCH_ONLY,
    Origin,
    carrier,
    derived_uid,
    moment_of,
    save,
    writing,
)
from pool.dicom.read import DicomStudy
from pool.dicom.segmentation import LV_MYOCARDIUM, MYOCARDIUM_SEGMENT, WrittenSegmentation
from pool.run_choice import Role

SERIES_NUMBER = 9304
"""Far above what scanners count to, so that it sorts behind the images."""
OWN_CODES = "99DAUGS"
"""Coding scheme of what no standard has a code for."""
U_PP = Code("U_PP", OWN_CODES, "Uncertainty per myocardial pixel (U_pp)")
U_TOT = Code("U_TOT", OWN_CODES, "Total uncertainty (U_tot)")
REPORT_TITLE = Code("122602", "DCM", "Myocardial Perfusion Analysis")
CARDIAC_MRI = Code("241620005", "SCT", "Cardiac MRI")
PATIENT_STATE = Code("109054", "DCM", "Patient State")
STATES = {
    Role.STRESS: Code("109091", "DCM", "Cardiac Stress State"),
    Role.REST: Code("128975004", "SCT", "Resting State"),
}
BLOOD_FLOW = Code("126390", "DCM", "Absolute Regional Blood Flow")
ML_MIN_G = Code("mL/min/g", "UCUM", "mL/min/g")
MM2, NO_UNITS = Code("mm2", "UCUM", "mm2"), Code("1", "UCUM", "no units")
_AHA_NAMES_AND_CODES = (
    *(("Basal anterior", "264850008"), ("Basal anteroseptal", "396482007"), ("Basal inferoseptal", "396646008")),
    *(("Basal inferior", "264846001"), ("Basal inferolateral", "396652009"), ("Basal anterolateral", "396654005")),
    *(("Mid anterior", "264848000"), ("Mid anteroseptal", "396647004"), ("Mid inferoseptal", "396649001")),
    *(("Mid inferior", "264847005"), ("Mid inferolateral", "396655006"), ("Mid anterolateral", "396656007")),
    *(("Apical anterior", "264844003"), ("Apical septal", "264845002")),
    *(("Apical inferior", "264849008"), ("Apical lateral", "264853005")),
)
AHA_SEGMENTS = {
    number: Code(value, "SCT", f"{name} segment of LV myocardium")
    for number, (name, value) in enumerate(_AHA_NAMES_AND_CODES, start=1)
}
"""Anatomic site by number of the AHA segment (Cerqueira et al., Circulation 2002;105:539)."""


@dataclass(frozen=True)
class SliceFindings:
    """What is reported of one slice that has an outline."""

    index: int
    """Position in the series, from 0."""
    name: str
    """As in the series."""
    area_mm2: float
    """Myocardium [mm2]."""
    u_pp: float
    """U_pp of the believed member, dimensionless."""
    u_tot: float
    """Its U_tot, dimensionless."""
    member_id: str
    """The believed member."""
    rule: str
    """The rule by which it was chosen."""


class SegmentFlow(Protocol):
    """Blood flow of one AHA segment."""

    @property
    def number(self) -> int:
        """1 to 16."""

    @property
    def mbf_ml_min_g(self) -> float | None:
        """Blood flow [mL/min/g]; None where there is none."""


def write_report(
    path: Path,
    study: DicomStudy,
    slices: Sequence[SliceFindings],
    segmentation: WrittenSegmentation,
    *,
    flow: Sequence[SegmentFlow] | None = None,
    origin: Origin,
) -> None:
    """Write one report: a group a slice, which refers to the slice's frame in the segmentation, and one a segment.

    Args:
        path: file to write; its folder must exist.
        study: source of patient, study and references.
        slices: slices with an outline.
        segmentation: the object that holds their outlines.
        flow: blood flow by AHA segment; None where it was not computed.
        origin: what made the outlines.

    Raises:
        OutputError: headers that a report cannot refer to, or a file that cannot be written.
    """
    with writing("report"):
        groups: list[Any] = [_slice_group(study, found, segmentation, origin) for found in slices]
        groups += [_flow_group(study, item, origin) for item in flow or () if item.mbf_ml_min_g is not None]
        observer = hd.sr.ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
                uid=derived_uid(study, origin, "device"),
                name="DAUGS pool",
                manufacturer_name=MANUFACTURER,
                model_name=MODEL_NAME,
                serial_number=origin.pool_sha256[:16],
            ),
        )
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=CARDIAC_MRI,
            imaging_measurements=groups,
            title=REPORT_TITLE,
            language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
                hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
            ),
        )
        made = hd.sr.ComprehensiveSR(
            evidence=_evidence(study, segmentation),
            content=content[0],
            series_instance_uid=derived_uid(study, origin, "report/series"),
            series_number=SERIES_NUMBER,
            sop_instance_uid=derived_uid(study, origin, "report/instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MODEL_NAME,
            software_versions=origin.version,
            device_serial_number=origin.pool_sha256[:16],
            series_description=f"Perfusion report: {RESEARCH_ONLY}",
            is_complete=True,
        )
        _without_clock(made, study)
        _refer_by_frame_alone(made)
        save(made, path)


def _slice_group(
    study: DicomStudy, found: SliceFindings, segmentation: WrittenSegmentation, origin: Origin
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    source = study.sources[found.index][REFERENCE_FRAME]
    frames = None if source.frame_number is None else [source.frame_number]
    state = STATES.get(study.role)
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            derived_uid(study, origin, f"report/{found.name}"), f"LV myocardium, slice {found.name}"
        ),
        referenced_segment=hd.sr.ReferencedSegmentationFrame(
            segmentation.sop_class_uid,
            segmentation.sop_instance_uid,
            segmentation.frame_of[found.index, MYOCARDIUM_SEGMENT],
            MYOCARDIUM_SEGMENT,
            hd.sr.SourceImageForSegmentation(source.sop_class_uid, source.sop_instance_uid, frames),
        ),
        finding_type=LV_MYOCARDIUM,
        algorithm_id=hd.sr.AlgorithmIdentification(
            name="DAUGS pool",
            version=origin.version,
            parameters=[
                f"chosen member: {found.member_id}",
                f"selection rule: {found.rule}",
                f"pool SHA-256: {origin.pool_sha256}",
                f"use: {RESEARCH_ONLY}",
                *([f"incomplete: {origin.few_answers}"] if origin.few_answers else []),
            ],
        ),
        measurements=[
            hd.sr.Measurement(codes.SCT.Area, float(found.area_mm2), MM2),
            hd.sr.Measurement(U_PP, float(found.u_pp), NO_UNITS),
            hd.sr.Measurement(U_TOT, float(found.u_tot), NO_UNITS),
        ],
        qualitative_evaluations=None if state is None else [hd.sr.QualitativeEvaluation(PATIENT_STATE, state)],
    )


def _flow_group(study: DicomStudy, item: SegmentFlow, origin: Origin) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    assert item.mbf_ml_min_g is not None
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            derived_uid(study, origin, f"report/segment-{item.number}"), f"AHA segment {item.number}"
        ),
        finding_type=LV_MYOCARDIUM,
        finding_sites=[hd.sr.FindingSite(AHA_SEGMENTS[item.number])],
        measurements=[hd.sr.Measurement(BLOOD_FLOW, float(np.round(item.mbf_ml_min_g, 6)), ML_MIN_G)],
    )


def _evidence(study: DicomStudy, segmentation: WrittenSegmentation) -> list[Dataset]:
    """The images that the report speaks of, as far as references need them: all frames, then the segmentation."""
    evidence: list[Dataset] = []
    seen: set[str] = set()
    for frame in (frame for frames in study.sources for frame in frames):
        if frame.sop_instance_uid not in seen:
            seen.add(frame.sop_instance_uid)
            item = carrier(study) if not evidence else Dataset()
            item.SOPClassUID, item.SOPInstanceUID = frame.sop_class_uid, frame.sop_instance_uid
            item.StudyInstanceUID, item.SeriesInstanceUID = study.identity["StudyInstanceUID"], frame.series_uid
            evidence.append(item)
    drawn = Dataset()
    drawn.SOPClassUID, drawn.SOPInstanceUID = segmentation.sop_class_uid, segmentation.sop_instance_uid
    drawn.StudyInstanceUID, drawn.SeriesInstanceUID = study.identity["StudyInstanceUID"], segmentation.series_uid
    return [*evidence, drawn]


def _without_clock(made: Dataset, study: DicomStudy) -> None:
    """Dates and times of the study instead of the clock's, and what our own codes are."""
    date, time = moment_of(study)
    made.ContentDate, made.ContentTime = made.SeriesDate, made.SeriesTime = date, time
    made.InstanceCreationDate, made.InstanceCreationTime = date, time
    for equipment in made.get("ContributingEquipmentSequence") or []:
        equipment.ContributionDateTime = f"{date}{time}"
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = OWN_CODES, "Codes of the DAUGS pool"
    made.CodingSchemeIdentificationSequence = [scheme]


def _refer_by_frame_alone(item: Dataset) -> None:
    """A reference to a frame may not name its segment too (PS3.3 table 10-3); highdicom writes both."""
    for child in item.get("ContentSequence") or []:
        for reference in child.get("ReferencedSOPSequence") or []:
            if "ReferencedFrameNumber" in reference and "ReferencedSegmentNumber" in reference:
                del reference.ReferencedSegmentNumber
        _refer_by_frame_alone(child)
