"""A phantom ASL study as one multi-frame file with the standard's MR Arterial Spin Labeling macro."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pool.phantom.asl import AslStudy
from pool.phantom.asl_scan import AslImage, asl_uid, description_of, images_of, rescale_slope, scan_of
from pool.phantom.dicom_common import STUDY_DATE, clock, common_fields, decimal, empty_file, fill
from pool.phantom.dicom_enhanced import ENHANCED_MR_IMAGE_STORAGE, FRAME_DURATION_MS, add_dimensions, enhanced_fields
from pool.phantom.dicom_groups import item, shared_groups

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

CONTEXTS = {"control": "CONTROL", "label": "LABEL", "baseline": "M_ZERO_SCAN"}
"""ASL Context (0018,9257) by kind."""
SLAB_MM = {"control": 30.0, "label": 500.0}
"""Thickness of the inverted slab: FAIR's control inverts the slice and little more, its label all of the chest."""
IMAGE_TYPE = ["ORIGINAL", "PRIMARY", "ASL", "NONE"]
"""Value 3 is what the module of the pulse sequence asks for beside ArterialSpinLabelingContrast."""
INVERSION_MS = 10
"""Duration of the inversion pulse [ms]."""
LARGEST = 2**15 - 1
"""Largest stored value."""


def write_enhanced(study: AslStudy, folder: Path) -> list[Path]:
    """One Enhanced MR Image file of signed pixels (PS3.3 A.36.2 with the macro of C.8.13.5.14).

    Args:
        study: the study; the same study gives the same bytes.
        folder: exists.
    """
    images, scan = images_of(study), scan_of(study)
    slope = rescale_slope(images, LARGEST)
    pixels = np.stack([np.round(image.frame / slope) for image in images]).astype("<i2")
    instance_uid = asl_uid(study, "image", "enhanced")
    start = clock(images[0].at_s)
    fields = common_fields(study.preset_name, study.seed, scan.scanner) | enhanced_fields(scan, pixels)
    fields |= {
        "SOPInstanceUID": instance_uid,
        "SeriesInstanceUID": asl_uid(study, "series", "enhanced"),
        "StudyDescription": "PHANTOM cardiac ASL",
        "SeriesDate": STUDY_DATE,
        "SeriesTime": start,
        "SeriesNumber": "31",
        "SeriesDescription": description_of(study),
        "ProtocolName": "myocardial ASL",
        "ContentDate": STUDY_DATE,
        "ContentTime": start,
        "AcquisitionDateTime": STUDY_DATE + start,
        "AcquisitionDuration": 1e3 * (images[-1].at_s - images[0].at_s),
        "AcquisitionNumber": "1",
        "InstanceNumber": "1",
        "ImageType": IMAGE_TYPE,
        "ComplexImageComponent": "REAL",
        "SaturationRecovery": "NO",
        "ArterialSpinLabelingContrast": "PULSED",
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
    }
    del fields["BodyPartExamined"]  # the anatomic region's code takes its place
    file = empty_file(ENHANCED_MR_IMAGE_STORAGE, instance_uid)
    fill(file, fields, pixels)
    add_dimensions(file, asl_uid(study, "dimensions"))
    n_rows, n_cols = study.baseline.shape
    shared = shared_groups(scan, study.geometry, study.pixel_spacing_mm, (n_rows, n_cols))
    frame_type = shared.MRImageFrameTypeSequence[0]
    frame_type.FrameType, frame_type.ComplexImageComponent = IMAGE_TYPE, "REAL"
    shared.PixelValueTransformationSequence[0].RescaleSlope = decimal(slope)
    shared.FrameVOILUTSequence[0].WindowCenter = "0"
    modifier = shared.MRModifierSequence[0]
    del shared.MRModifierSequence  # the inversion differs from frame to frame
    file.SharedFunctionalGroupsSequence = [shared]
    file.PerFrameFunctionalGroupsSequence = [
        _frame_groups(study, image, number, modifier) for number, image in enumerate(images, start=1)
    ]
    path = folder / "asl.dcm"
    file.save_as(path, enforce_file_format=True)
    return [path]


def _frame_groups(study: AslStudy, image: AslImage, number: int, modifier: Dataset) -> Dataset:
    """Functional groups of one frame: when, where, with which inversion, for what."""
    at = STUDY_DATE + clock(image.at_s)
    interval_ms = 1e3 * float(study.ti_s.mean())
    inversion = {element.keyword: element.value for element in modifier}
    if image.ti_ms is not None:
        inversion |= {"InversionRecovery": "YES", "InversionTimes": [image.ti_ms]}
    labelling = item(
        ASLTechniqueDescription="FAIR", ASLContext=CONTEXTS[image.kind], ASLCrusherFlag="NO", ASLBolusCutoffFlag="NO"
    )
    if image.kind in SLAB_MM:
        slab = item(
            ASLSlabNumber=1,
            ASLSlabThickness=SLAB_MM[image.kind],
            ASLSlabOrientation=[float(value) for value in study.geometry.normal],
            ASLMidSlabPosition=_centre_mm(study),
            ASLPulseTrainDuration=INVERSION_MS,
        )
        labelling.ASLSlabSequence = [slab]
    return item(
        FrameContentSequence=[
            item(
                FrameReferenceDateTime=at,
                FrameAcquisitionDateTime=at,
                FrameAcquisitionDuration=FRAME_DURATION_MS,
                FrameAcquisitionNumber=number,
                StackID="1",
                InStackPositionNumber=1,
                TemporalPositionIndex=number,
                DimensionIndexValues=[1, 1, number],
            )
        ],
        PlanePositionSequence=[item(ImagePositionPatient=[decimal(v) for v in study.geometry.position_mm])],
        CardiacSynchronizationSequence=[
            item(NominalCardiacTriggerDelayTime=0.6 * interval_ms, RRIntervalTimeNominal=interval_ms)
        ],
        MRModifierSequence=[item(**inversion)],
        MRArterialSpinLabelingSequence=[labelling],
    )


def _centre_mm(study: AslStudy) -> list[float]:
    n_rows, n_cols = study.baseline.shape
    centre = study.geometry.to_patient_mm((n_rows - 1) / 2, (n_cols - 1) / 2, study.pixel_spacing_mm)
    return [float(value) for value in centre]
