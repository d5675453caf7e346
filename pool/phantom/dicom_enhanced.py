"""Enhanced multi-frame MR files as Siemens XA writes them: one file a slice, one functional group a frame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pool.phantom.dicom_common import START_S, STUDY_DATE, clock, common_fields, empty_file, fill, uid_of
from pool.phantom.dicom_groups import item, shared_groups
from pool.phantom.study_types import PhantomStudy, ScanValues

if TYPE_CHECKING:
    from pydicom.dataset import Dataset, FileDataset

ENHANCED_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4.1"
FRAME_DURATION_MS = 120.0
"""Duration of one frame's readout [ms]."""


def _moment(seconds: float) -> str:
    """Seconds since midnight of the study's day as DICOM's DT."""
    return STUDY_DATE + clock(seconds)


def write_siemens_xa(study: PhantomStudy, folder: Path) -> list[Path]:
    """One Enhanced MR Image file a slice (PS3.3 A.36.2); times are FrameAcquisitionDateTime."""
    paths = []
    for i, name in enumerate(study.series.slice_names):
        path = folder / f"{name}.dcm"
        _enhanced_file(study, i).save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _enhanced_file(study: PhantomStudy, slice_index: int) -> FileDataset:
    series, scan = study.series, study.scan
    instance_uid = uid_of(study, "image", "siemens-xa", slice_index)
    organisation = uid_of(study, "dimensions", slice_index)
    file = empty_file(ENHANCED_MR_IMAGE_STORAGE, instance_uid)
    pixels = series.frames[slice_index].astype("<u2")
    state = "stress" if study.stress else "rest"
    kind = "perfusion" if study.injection == "main" else "perfusion prebolus"
    start = _moment(START_S + float(series.times_s[slice_index, 0]))
    assert series.geometry is not None  # a phantom study always has it
    assert series.pixel_spacing_mm is not None  # as it has this
    fields = common_fields(study.preset_name, study.seed, scan.scanner) | enhanced_fields(scan, pixels)
    fields |= {
        "SOPInstanceUID": instance_uid,
        "SeriesInstanceUID": uid_of(study, "series", "siemens-xa", slice_index),
        "SeriesDate": STUDY_DATE,
        "SeriesTime": start[8:],
        "SeriesNumber": str((20 if study.injection == "main" else 10) + slice_index),
        "SeriesDescription": f"PHANTOM {state} {kind} {series.slice_names[slice_index]}",
        "ProtocolName": f"{state} perfusion",
        "ContentDate": STUDY_DATE,
        "ContentTime": start[8:],
        "AcquisitionDateTime": start,
        "AcquisitionDuration": float(1000 * (series.times_s[slice_index, -1] - series.times_s[slice_index, 0])),
        "AcquisitionNumber": "1",
        "InstanceNumber": "1",
    }
    del fields["BodyPartExamined"]  # the anatomic region's code takes its place
    fill(file, fields, pixels)
    add_dimensions(file, organisation)
    groups = shared_groups(scan, series.geometry[slice_index], series.pixel_spacing_mm, pixels.shape[1:])
    file.SharedFunctionalGroupsSequence = [groups]
    file.PerFrameFunctionalGroupsSequence = [_frame_groups(study, slice_index, t) for t in range(series.n_frames)]
    return file


def enhanced_fields(scan: ScanValues, pixels: np.ndarray) -> dict[str, Any]:
    """What every multi-frame file of a first pass has but identifiers and times: its sequence, the form of its pixels.

    Args:
        scan: its sequence.
        pixels: `frame row col`.
    """
    return {
        "SOPClassUID": ENHANCED_MR_IMAGE_STORAGE,
        "DeviceSerialNumber": "0",
        "ImageType": ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"],
        "ContentQualification": "RESEARCH",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PresentationLUTShape": "IDENTITY",
        "PixelPresentation": "MONOCHROME",
        "VolumetricProperties": "VOLUME",
        "VolumeBasedCalculationTechnique": "NONE",
        "ComplexImageComponent": "MAGNITUDE",
        "AcquisitionContrast": "PERFUSION",
        "ResonantNucleus": "1H",
        "KSpaceFiltering": "NONE",
        "MagneticFieldStrength": scan.field_t,
        "ApplicableSafetyStandardAgency": "IEC",
        "PulseSequenceName": "*tfl2d1" if scan.readout == "flash" else "*tfi2d1",
        "MRAcquisitionType": "2D",
        "EchoPulseSequence": "GRADIENT",
        "MultiPlanarExcitation": "NO",
        "PhaseContrast": "NO",
        "TimeOfFlightContrast": "NO",
        "SteadyStatePulseSequence": "NONE" if scan.readout == "flash" else "FREE_PRECESSION",
        "EchoPlanarPulseSequence": "NO",
        "SaturationRecovery": "YES",
        "SpectrallySelectedSuppression": "NONE",
        "OversamplingPhase": "NONE",
        "GeometryOfKSpaceTraversal": "RECTILINEAR",
        "SegmentedKSpaceTraversal": "SINGLE",
        "RectilinearPhaseEncodeReordering": "LINEAR",
        "NumberOfKSpaceTrajectories": 1,
        "CardiacSynchronizationTechnique": "PROSPECTIVE",
        "CardiacSignalSource": "ECG",
        "CardiacRRIntervalSpecified": 60000.0 / scan.heart_rate_bpm,
        "CardiacBeatRejectionTechnique": "NONE",
        "LowRRValue": None,
        "HighRRValue": None,
        "IntervalsAcquired": None,
        "IntervalsRejected": None,
        "RespiratoryMotionCompensationTechnique": "NONE",
        "BulkMotionCompensationTechnique": "NONE",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[1],
        "Columns": pixels.shape[2],
        "NumberOfFrames": str(len(pixels)),
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }


def add_dimensions(file: FileDataset, organisation: str) -> None:
    """Frames are ordered by stack, position in it and time."""
    file.AcquisitionContextSequence = []
    file.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organisation)]
    file.DimensionIndexSequence = [
        item(
            DimensionOrganizationUID=organisation,
            DimensionIndexPointer=pointer,
            FunctionalGroupPointer=0x00209111,
            DimensionDescriptionLabel=label,
        )
        for pointer, label in (
            (0x00209056, "Stack ID"),
            (0x00209057, "In-Stack Position Number"),
            (0x00209128, "Temporal Position Index"),
        )
    ]


def _frame_groups(study: PhantomStudy, slice_index: int, frame: int) -> Dataset:
    """Functional groups of one frame: when and where."""
    series = study.series
    assert series.geometry is not None  # a phantom study always has it
    at = _moment(START_S + float(series.times_s[slice_index, frame]))
    position = [f"{v:.10g}"[:16] for v in series.geometry[slice_index].position_mm]
    return item(
        FrameContentSequence=[
            item(
                FrameReferenceDateTime=at,
                FrameAcquisitionDateTime=at,
                FrameAcquisitionDuration=FRAME_DURATION_MS,
                FrameAcquisitionNumber=frame + 1,
                StackID="1",
                InStackPositionNumber=1,
                TemporalPositionIndex=frame + 1,
                DimensionIndexValues=[1, 1, frame + 1],
            )
        ],
        PlanePositionSequence=[item(ImagePositionPatient=position)],
        CardiacSynchronizationSequence=[
            item(
                NominalCardiacTriggerDelayTime=120.0 + 200.0 * slice_index,
                RRIntervalTimeNominal=60000.0 / study.scan.heart_rate_bpm,
            )
        ],
    )
