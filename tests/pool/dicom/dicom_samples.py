"""DICOM files as scanners write them, made with plain pydicom; shares no code with the reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

STUDY_UID, SERIES_UID, FRAME_OF_REFERENCE_UID = "1.2.3.4.1", "1.2.3.4.2", "1.2.3.4.3"
MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
ROWS, COLS, N_FRAMES = 12, 16, 10
ROW_MM, COL_MM = 2.5, 2.0
# Row direction: to the left and to the back; column direction: to the feet. Their product, the slice normal, points to
# the front and to the left: (0.8, 0.6, 0) x (0, 0, -1) = (-0.6, 0.8, 0), which is right and back, so base to apex is
# against it.
ORIENTATION = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
BASE = (-40.0, 10.0, 60.0)
TOWARDS_APEX = (0.6, -0.8, 0.0)
GAP_MM = 10.0


def position(s: int) -> tuple[float, float, float]:
    """First pixel of slice `s`, counted from the base."""
    x, y, z = (b + s * GAP_MM * d for b, d in zip(BASE, TOWARDS_APEX, strict=True))
    return x, y, z


def pixels(s: int, t: int, rows: int = ROWS, cols: int = COLS) -> np.ndarray:
    """A different value in every pixel of every frame."""
    return (1000 * s + 100 * t + np.arange(rows * cols).reshape(rows, cols) % 97).astype(np.int16)


def common(s: int, t: int, series_uid: str = SERIES_UID) -> Dataset:
    """What every file of a study has."""
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Secret", "ID-SECRET", "19700102", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = STUDY_UID, series_uid, FRAME_OF_REFERENCE_UID
    ds.SOPInstanceUID = f"{series_uid}.{s + 1}.{t + 1}"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240305", "101500", "7", "A1"
    ds.ReferringPhysicianName, ds.PositionReferenceIndicator = "", ""
    ds.SeriesNumber, ds.Modality, ds.Manufacturer = 12, "MR", "Nobody"
    ds.SeriesDescription = "perfusion"
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = ROWS, COLS, 16, 16, 15
    ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, 1, "MONOCHROME2"
    return ds


def clock(seconds: float) -> str:
    """Time of day as DICOM writes it."""
    whole, micro = int(seconds), round((seconds - int(seconds)) * 1e6)
    return f"{whole // 3600:02d}{whole // 60 % 60:02d}{whole % 60:02d}.{micro:06d}"


def siemens_times(ds: Dataset, s: int, t: int) -> None:
    """AcquisitionTime and ContentTime rise, TriggerTime stands still."""
    seconds = 10 * 3600 + 16 * 60 + 0.8 * t + 0.2 * s
    ds.AcquisitionDate = ds.ContentDate = "20240305"
    ds.AcquisitionTime, ds.ContentTime = clock(seconds), clock(seconds + 0.1)
    ds.TriggerTime = 120.0 + 200 * s


def ge_times(ds: Dataset, s: int, t: int) -> None:
    """TriggerTime runs from the start of the run; AcquisitionTime repeats; AcquisitionNumber is always 0."""
    ds.AcquisitionTime = clock(10 * 3600 + 16 * 60 + t // 4)
    ds.ContentTime = clock(10 * 3600 + 16 * 60)
    ds.TriggerTime, ds.AcquisitionNumber, ds.MagneticFieldStrength = 769.0 + 698.0 * t + 100 * s, 0, "15000"


def philips_times(ds: Dataset, s: int, t: int) -> None:
    """AcquisitionTime stands still, TriggerTime runs, temporal positions are counted."""
    ds.AcquisitionTime = ds.ContentTime = clock(10 * 3600 + 16 * 60)
    ds.TriggerTime, ds.TemporalPositionIdentifier, ds.NumberOfTemporalPositions = 900.0 * t + 150 * s, t + 1, N_FRAMES


def classic(s: int, t: int, times: Callable[[Dataset, int, int], None] = siemens_times, **changes: Any) -> Dataset:
    """One frame; `changes` set tags, or remove those given as None."""
    ds = common(s, t, changes.pop("series_uid", SERIES_UID))
    ds.SOPClassUID = MR
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "NORM"]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = list(position(s)), list(ORIENTATION)
    ds.PixelSpacing, ds.SliceThickness = [ROW_MM, COL_MM], 8.0
    ds.InstanceNumber = 1 + s + 3 * t
    ds.RescaleSlope, ds.RescaleIntercept = 2.0, -5.0
    ds.PixelData = pixels(s, t).tobytes()
    times(ds, s, t)
    for tag, value in changes.items():
        if value is None:
            delattr(ds, tag)
        else:
            setattr(ds, tag, value)
    return ds


def enhanced(slices: Sequence[int] = (0, 1, 2), n_frames: int = N_FRAMES) -> Dataset:
    """All frames of some slices in one file, frame by frame in time."""
    ds = common(slices[0], 0)
    ds.SOPClassUID, ds.InstanceNumber, ds.ImageType = (
        ENHANCED_MR,
        1 + slices[0],
        ["ORIGINAL", "PRIMARY", "PERFUSION", "NONE"],
    )
    ds.AcquisitionDateTime, ds.ContentDate, ds.ContentTime = "20240305101600", "20240305", "101700"
    shared, orientation, measures, transform = Dataset(), Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(ORIENTATION)
    measures.PixelSpacing, measures.SliceThickness = [ROW_MM, COL_MM], 8.0
    transform.RescaleSlope, transform.RescaleIntercept, transform.RescaleType = 2.0, -5.0, "US"
    shared.PlaneOrientationSequence = DicomSequence([orientation])
    shared.PixelMeasuresSequence = DicomSequence([measures])
    shared.PixelValueTransformationSequence = DicomSequence([transform])
    ds.SharedFunctionalGroupsSequence = DicomSequence([shared])
    items, data = [], []
    for t in range(n_frames):
        for s in slices:
            item, content, place = Dataset(), Dataset(), Dataset()
            content.FrameAcquisitionDateTime = f"20240305{clock(10 * 3600 + 16 * 60 + 0.8 * t + 0.2 * s)}"
            content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", s + 1, t + 1
            place.ImagePositionPatient = list(position(s))
            item.FrameContentSequence, item.PlanePositionSequence = DicomSequence([content]), DicomSequence([place])
            items.append(item)
            data.append(pixels(s, t).tobytes())
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = DicomSequence(items), len(items)
    ds.PixelData = b"".join(data)
    return ds


def write(path: Path, ds: Dataset, transfer_syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write one file with its preamble and file meta group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
    return path


def write_study(
    folder: Path,
    times: Callable[[Dataset, int, int], None] = siemens_times,
    n_slices: int = 3,
    n_frames: int = N_FRAMES,
    **changes: Any,
) -> list[Path]:
    """A whole classic study, its files in an order that says nothing."""
    return [
        write(folder / f"{(7 * i) % 101:03d}-{i}.ima", classic(i % n_slices, i // n_slices, times, **changes))
        for i in range(n_slices * n_frames)
    ]
