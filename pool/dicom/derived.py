"""What a segmentation and a parametric map share: patient, study, geometry, references and identifiers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import MRImageStorage
from pydicom.valuerep import DA, TM

from pool.dicom.sources import SourceImages, identity_dataset
from pool.errors import OutputError, PoolError

RESEARCH_ONLY = "research use only, not for diagnosis"
"""Stands in every object written."""
MANUFACTURER, MODEL_NAME = "DAUGS pool", "pool"
REFERENCE_FRAME = 0
"""Frame of each slice that an object refers to frame by frame; the other frames are named as further sources."""
_SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_UNKNOWN_DATE, _UNKNOWN_TIME = "19000101", "000000"


@dataclass(frozen=True)
class Origin:
    """What made an object; the same origin and study give the same bytes."""

    identity: str
    """Hashed into every UID: the hashes of series, pool and settings, joined."""
    pool_sha256: str
    """Hash of the pool that drew the outline."""
    version: str
    """Version of this software."""
    few_answers: str = ""
    """Which members of the pool gave no answer, in words; empty where all did. Then stands in every object."""


def derived_uid(study: SourceImages, origin: Origin, role: str) -> str:
    """A UID that depends on the source study, the origin and the role alone (name-based UUID, PS3.5 B.2)."""
    source = study.identity.get("StudyInstanceUID", "")
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{source}/{origin.identity}/{role}').int}"


@contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn what a DICOM library or the disk raises inside the block into an `OutputError` about the object `name`."""
    try:
        yield
    except PoolError:
        raise
    except OSError as error:
        raise OutputError(
            name, "must be written", error.strerror or type(error).__name__, "Is the folder writable?"
        ) from error
    except Exception as error:
        raise OutputError(
            name,
            "needs source images whose headers a derived object can refer to",
            type(error).__name__,
            "Check the source images' patient and study tags.",
        ) from error


def common_arguments(
    study: SourceImages, origin: Origin, role: str, series_number: int, description: str
) -> dict[str, Any]:
    """The arguments that highdicom's constructors share.

    Dates and times are the source study's, not today's, so that the same input gives the same bytes; a study without
    a date gets 1900-01-01.
    """
    source = carrier(study)
    date, time = moment_of(study)
    geometry, spacing_mm = study.geometry, study.pixel_spacing_mm
    return {
        "source_images": [source],
        "plane_positions": [
            hd.PlanePositionSequence(hd.CoordinateSystemNames.PATIENT, image_position=g.position_mm) for g in geometry
        ],
        "plane_orientation": hd.PlaneOrientationSequence(
            hd.CoordinateSystemNames.PATIENT, image_orientation=geometry[0].orientation
        ),
        "pixel_measures": hd.PixelMeasuresSequence(pixel_spacing=spacing_mm, slice_thickness=study.thickness_mm),
        "series_instance_uid": derived_uid(study, origin, f"{role}/series"),
        "series_number": series_number,
        "sop_instance_uid": derived_uid(study, origin, f"{role}/instance"),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": origin.version,
        "device_serial_number": origin.pool_sha256[:16],
        "content_description": f"{description}: {RESEARCH_ONLY}",
        "series_description": f"{description}: {RESEARCH_ONLY}",
        "content_date": date,
        "content_time": time,
        "series_date": date,
        "series_time": time,
    }


def moment_of(study: SourceImages) -> tuple[str, str]:
    """Date and time that stand in derived objects: the study's, else 1900-01-01."""
    source = carrier(study)
    return str(source.get("StudyDate") or _UNKNOWN_DATE), str(source.get("StudyTime") or _UNKNOWN_TIME)


def finish(made: Dataset, study: SourceImages, origin: Origin, role: str, derivation: Code) -> list[int]:
    """Refer to the true source frames and replace what the library took from the clock or from chance.

    Returns:
        The slice of every frame.
    """
    positions = np.array([g.position_mm for g in study.geometry])
    slices = []
    for item in made.PerFrameFunctionalGroupsSequence:
        placed = np.array(item.PlanePositionSequence[0].ImagePositionPatient, dtype=float)
        s = int(np.linalg.norm(positions - placed, axis=1).argmin())
        slices.append(s)
        source = study.sources[s][REFERENCE_FRAME].reference(with_frame=True)
        source.SpatialLocationsPreserved = "YES"
        source.PurposeOfReferenceCodeSequence = [coded(_SOURCE_IMAGE)]
        derived = Dataset()
        derived.DerivationCodeSequence, derived.SourceImageSequence = [coded(derivation)], [source]
        item.DerivationImageSequence = [derived]
    made.SourceImageSequence = [r for references in source_files(study).values() for r in references]
    made.ReferencedSeriesSequence = []
    for series_uid, references in source_files(study).items():
        series = Dataset()
        series.SeriesInstanceUID = series_uid
        series.ReferencedInstanceSequence = references
        made.ReferencedSeriesSequence.append(series)
    organization = derived_uid(study, origin, f"{role}/dimensions")
    for holder in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        holder.DimensionOrganizationUID = organization
    made.InstanceCreationDate, made.InstanceCreationTime = made.ContentDate, made.ContentTime
    for equipment in made.ContributingEquipmentSequence:
        equipment.ContributionDateTime = f"{made.ContentDate}{made.ContentTime}"
    made.BodyPartExamined = "HEART"
    if origin.few_answers:
        made.ImageComments = origin.few_answers
    return slices


def save(made: Dataset, path: Path) -> None:
    """Write under another name first: a reader never sees half an object."""
    part = path.with_name(f".{path.name}.part")
    made.save_as(part, enforce_file_format=True)
    part.replace(path)


def check_maps(name: str, maps: np.ndarray, study: SourceImages) -> None:
    """Refuse maps that do not lie on the native grid of the study."""
    if maps.shape != study.grid:
        raise OutputError(name, f"must lie on the native grid {study.grid} (slice row col)", str(maps.shape))


def source_files(study: SourceImages) -> dict[str, list[Dataset]]:
    """References to every file of the study's frames, each once, by series."""
    by_series: dict[str, dict[str, Dataset]] = {}
    for frames in study.sources:
        for frame in frames:
            files = by_series.setdefault(frame.series_uid, {})
            files.setdefault(frame.sop_instance_uid, frame.reference(with_frame=False))
    return {series_uid: list(files.values()) for series_uid, files in by_series.items()}


def coded(code: Code) -> Dataset:
    """A coded concept as an item of a sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code.value, code.scheme_designator, code.meaning
    return item


def carrier(study: SourceImages) -> Dataset:
    """One image that stands for the study: highdicom wants sources of one series, scanners write one a slice."""
    made, first = identity_dataset(study.identity), study.sources[0][REFERENCE_FRAME]
    for tag in ("PatientID", "PatientName", "PatientBirthDate", "StudyID", "StudyDate", "StudyTime", "AccessionNumber"):
        if not made.get(tag):
            setattr(made, tag, None)
    for tag, parse in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            parse(made[tag].value)
        except (ValueError, TypeError):
            setattr(made, tag, None)
    made.PatientSex = made.get("PatientSex") if made.get("PatientSex") in ("M", "F", "O") else None
    made.SeriesInstanceUID = first.series_uid
    if not made.get("FrameOfReferenceUID"):
        made.FrameOfReferenceUID = f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, first.series_uid).int}"
    geometry, spacing_mm = study.geometry, study.pixel_spacing_mm
    made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, first.sop_instance_uid
    _, made.Rows, made.Columns = study.grid
    made.ImagePositionPatient, made.ImageOrientationPatient = (
        [float(f"{x:.6f}") for x in values] for values in (geometry[0].position_mm, geometry[0].orientation)
    )
    made.SliceThickness = study.thickness_mm
    made.PixelSpacing = [float(f"{x:.6f}") for x in spacing_mm]
    return made
