"""What every DICOM file of a phantom study has in common; shares nothing with the reader."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pool.phantom.cohorts import draw_patient
from pool.phantom.study_types import PhantomStudy, ScanValues
from pool.series import SliceGeometry

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

STUDY_DATE = "20200102"
"""Date of every phantom study."""
START_S = 10 * 3600
"""Time of day of the first frame [s]."""
MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SOFTWARE = "phantom"
IMPLEMENTATION_CLASS_UID = "2.25.305828488182831875890203105390285383140"
"""Implementation class UID of the files."""


def uid(*parts: object) -> str:
    """A UID that depends on its arguments alone (2.25 and a 128-bit number, PS3.5 B.2)."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def uid_of(study: PhantomStudy, *parts: object) -> str:
    """A UID of something in a study: the same for the same study, another for another number of frames."""
    return uid(study.preset_name, study.seed, study.injection, study.series.n_frames, *parts)


def clock(seconds: float) -> str:
    """Seconds since midnight as DICOM's TM, with microseconds."""
    microseconds = round(seconds * 1e6)
    whole, fraction = divmod(microseconds, 1_000_000)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{fraction:06d}"


def decimal(value: float) -> str:
    """A number as DICOM's DS, at most 16 characters."""
    return f"{value:.10g}"[:16]


def common_fields(preset_name: str, seed: int, scanner: str) -> dict[str, Any]:
    """Patient, study, frame of reference and equipment, alike in every file of a study."""
    name = f"PHANTOM^{preset_name.upper()}^{seed}"
    patient = draw_patient(preset_name, seed)
    maker, _, model = scanner.partition(" ")
    return {
        "PatientName": name,
        "PatientID": f"PHANTOM-{preset_name}-{seed}",
        "PatientBirthDate": f"{int(STUDY_DATE[:4]) - patient.age_years}0101",
        "PatientSex": patient.sex,
        "PatientAge": f"{patient.age_years:03d}Y",
        "PatientSize": decimal(patient.height_m),
        "PatientWeight": decimal(patient.weight_kg),
        "StudyInstanceUID": uid("study", preset_name, seed),
        "StudyDate": STUDY_DATE,
        "StudyTime": clock(START_S - 600),
        "StudyID": str(seed % 10**8),
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyDescription": "PHANTOM cardiac perfusion",
        "FrameOfReferenceUID": uid("frame of reference", preset_name, seed),
        "PositionReferenceIndicator": "",
        "Manufacturer": {"Siemens": "SIEMENS", "GE": "GE MEDICAL SYSTEMS"}.get(maker, maker.upper()),
        "ManufacturerModelName": model or maker,
        "SoftwareVersions": SOFTWARE,
        "InstitutionName": "PHANTOM",
        "Modality": "MR",
        "BodyPartExamined": "HEART",
        "PatientPosition": "HFS",
    }


def empty_file(sop_class: str, instance_uid: str) -> FileDataset:
    """A file with nothing but its meta header."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(instance_uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    return FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)


def classic_file(study: PhantomStudy, slice_index: int, frame: int, instance_uid: str, series_uid: str) -> FileDataset:
    """One frame of one slice as an MR Image Storage file, without the dialect's times and numbers."""
    file = empty_file(MR_IMAGE_STORAGE, instance_uid)
    series, scan = study.series, study.scan
    assert series.geometry is not None  # a phantom study always has it
    assert series.pixel_spacing_mm is not None  # as it has this
    geometry = series.geometry[slice_index]
    pixels = series.frames[slice_index, frame].astype("<u2")
    fields = common_fields(study.preset_name, study.seed, scan.scanner) | classic_fields(
        geometry, series.pixel_spacing_mm, scan, pixels
    )
    fields |= {
        "SOPInstanceUID": instance_uid,
        "SeriesInstanceUID": series_uid,
        "WindowCenter": decimal(float(pixels.max()) / 2),
        "WindowWidth": decimal(float(max(pixels.max(), 1))),
        "InversionTime": decimal(scan.ti_ms),
        "ContrastBolusAgent": "phantom",
    }
    fill(file, fields, pixels)
    return file


def classic_fields(
    geometry: SliceGeometry, spacing_mm: tuple[float, float], scan: ScanValues, pixels: np.ndarray
) -> dict[str, Any]:
    """What every single-frame file has but identifiers, times and the window: place, sequence, form of the pixels."""
    return {
        "SOPClassUID": MR_IMAGE_STORAGE,
        "SeriesDate": STUDY_DATE,
        "AcquisitionDate": STUDY_DATE,
        "ContentDate": STUDY_DATE,
        "ImagePositionPatient": [decimal(v) for v in geometry.position_mm],
        "ImageOrientationPatient": [decimal(v) for v in geometry.orientation],
        "SliceLocation": decimal(float(np.dot(geometry.normal, geometry.position_mm))),
        "SliceThickness": decimal(scan.thickness_mm),
        "PixelSpacing": [decimal(v) for v in spacing_mm],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SmallestImagePixelValue": int(pixels.min()),
        "LargestImagePixelValue": int(pixels.max()),
        "ScanningSequence": ["GR", "IR"],
        "SequenceVariant": ["SP", "MP"] if scan.readout == "flash" else ["SS", "MP"],
        "ScanOptions": "CG",
        "MRAcquisitionType": "2D",
        "RepetitionTime": decimal(scan.tr_ms),
        "EchoTime": decimal(scan.te_ms),
        "FlipAngle": decimal(scan.flip_deg),
        "MagneticFieldStrength": decimal(scan.field_t),
        "ImagingFrequency": decimal(42.577 * scan.field_t),
        "ImagedNucleus": "1H",
        "EchoTrainLength": "1",
        "NumberOfAverages": "1",
        "HeartRate": str(round(scan.heart_rate_bpm)),
    }


def fill(file: FileDataset, fields: Mapping[str, Any], pixels: np.ndarray) -> None:
    """Put fields and 16-bit pixels into a file."""
    for keyword, value in fields.items():
        setattr(file, keyword, value)
    file.PixelData = pixels.tobytes()
    file["PixelData"].VR = "OW"
